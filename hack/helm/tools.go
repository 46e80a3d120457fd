//go:build tools

// Package tools names the programs that the chart's tests build; go.mod and go.sum pin what they are made of.
package tools

import (
	_ "github.com/yuin/gopher-lua/cmd/glua"
	_ "helm.sh/helm/v4/cmd/helm"
)
