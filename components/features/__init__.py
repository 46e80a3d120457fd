"""features: customer features joined as they were at each row's moment, and put into the online store."""
