//go:build tools

// Package tools names the program that the tests build; go.mod and go.sum pin what it is made of.
package tools

import (
	_ "sigs.k8s.io/kueue/cmd/kueue"
)
