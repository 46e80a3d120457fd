//go:build tools

// Package tools names the program that the chart's tests build; go.mod and go.sum pin what it is made of.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
