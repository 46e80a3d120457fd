"""Stores: desired state, routing, evidence, leases, alerts, retraining requests and runs, in SQL.

Each class takes `(db, clock)`. A store that changes a fact which the ledger shall know appends it **in the same
transaction**, so that record and effect cannot part; callers must not append these again:

| store | kinds |
|---|---|
| ResourceStore | resource.applied, resource.deleted |
| RoutingStore | routing.published, routing.acknowledged (when a gateway's epoch changes) |
| EvidenceStore | pair.scored |
| AlertStore | alert.received |
| RetrainStore | retrain.requested, retrain.status |
| RunStore | run.started, run.finished |

The other kinds (version.registered, gate.overridden, alias.set, rollout.*) are appended by who decides them. Methods
that take `conn` join the caller's `db.write()` transaction.
"""
