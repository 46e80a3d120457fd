{{- /* Each template says what of the values would be accepted by Kubernetes and go wrong later, or be refused by it without
a word of the value: a JSON list of messages. */ -}}

{{- /* Components by the value that they have: their name in objects. */ -}}
{{- define "tidegate.components" -}}
{{- $components := dict "operator" "operator" "gateway" "gateway" "scorer" "scorer" "receiver" "receiver" "driftChecks" "drift" -}}
{{- if include "tidegate.ownMlflow" . -}}
{{- $_ := set $components "mlflow.server" "mlflow" -}}
{{- end -}}
{{- $components | toJson -}}
{{- end -}}

{{- /* (root, "mlflow.server" or another component's value): its content, as JSON. */ -}}
{{- define "tidegate.componentValues" -}}
{{- $at := (index . 0).Values -}}
{{- range splitList "." (index . 1) -}}
{{- $at = index $at . -}}
{{- end -}}
{{- $at | toJson -}}
{{- end -}}

{{- define "tidegate.refusals.network" -}}
{{- $n := .Values.networkPolicy -}}
{{- $said := list -}}
{{- range $name := list "gatewayFrom" "alertsFrom" -}}
{{- $pods := false -}}
{{- range index $n $name -}}
{{- if not .ipBlock -}}
{{- $pods = true -}}
{{- end -}}
{{- end -}}
{{- if and $n.enabled $pods (not $n.metricsFrom) -}}
{{- $said = append $said (printf "networkPolicy.%s names pods, but networkPolicy.metricsFrom is empty and lets every pod of the cluster reach the same port: name there who may read metrics, the same peers if nobody else does" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $n.enabled (or $n.engines.enabled $n.training.enabled) (not $n.engines.kuberayFrom) -}}
{{- $said = append $said "networkPolicy.engines.kuberayFrom is empty, which lets everybody reach Ray: name the pods of KubeRay's operator" -}}
{{- end -}}
{{- $said | toJson -}}
{{- end -}}

{{- /* Two that share an account have the rights of both, and admission policies go by the account. */ -}}
{{- define "tidegate.refusals.accounts" -}}
{{- $accounts := dict "engines.serviceAccount.name" (include "tidegate.engineAccount" .) -}}
{{- range $name, $component := include "tidegate.components" . | fromJson -}}
{{- $_ := set $accounts (printf "%s.serviceAccount.name" $name) (include "tidegate.account" (list $ $component (include "tidegate.componentValues" (list $ $name) | fromJson))) -}}
{{- end -}}
{{- if has .Release.Namespace (include "tidegate.pipelineNamespaces" . | fromJsonArray) -}}
{{- $_ := set $accounts "pipelines.serviceAccount" .Values.pipelines.serviceAccount -}}
{{- end -}}
{{- $said := list -}}
{{- $seen := dict -}}
{{- range $name, $account := $accounts -}}
{{- with get $seen $account -}}
{{- $said = append $said (printf "%s and %s are both the account %s, which would have the rights of both: give each its own" . $name $account) -}}
{{- end -}}
{{- $_ := set $seen $account $name -}}
{{- end -}}
{{- $said | toJson -}}
{{- end -}}

{{- define "tidegate.refusals.names" -}}
{{- $said := list -}}
{{- range $name, $pool := .Values.gpuNodePools -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- $said = append $said (printf "gpuNodePools.%s is no name of a pool: write it with small letters, digits and '-'" $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.engines.head.nodePool -}}
{{- if not (hasKey $.Values.gpuNodePools .) -}}
{{- $said = append $said (printf "engines.head.nodePool is %s, which is none of gpuNodePools (%s): add it there; it needs no GPUs" . (keys $.Values.gpuNodePools | sortAlpha | join ", " | default "none")) -}}
{{- end -}}
{{- end -}}
{{- $namespaces := include "tidegate.pipelineNamespaces" . | fromJsonArray -}}
{{- with .Values.kfp.namespace -}}
{{- if not (has . $namespaces) -}}
{{- $said = append $said (printf "kfp.namespace is %s, which is none of pipelines.namespaces (%s), so runs would find neither settings nor rights: add it there, or name one of them" . (join ", " $namespaces)) -}}
{{- end -}}
{{- end -}}
{{- $checked := dict -}}
{{- range .Values.driftChecks.deployments -}}
{{- if hasKey $checked .deployment -}}
{{- $said = append $said (printf "driftChecks.deployments has %s twice: take one of them out" .deployment) -}}
{{- end -}}
{{- $_ := set $checked .deployment true -}}
{{- end -}}
{{- $labels := dict "commonLabels" .Values.commonLabels -}}
{{- range $name, $_ := include "tidegate.components" . | fromJson -}}
{{- $_ := set $labels (printf "%s.podLabels" $name) (include "tidegate.componentValues" (list $ $name) | fromJson).podLabels -}}
{{- end -}}
{{- /* By these Services, policies and the operator find pods; the others the chart sets on every object. */ -}}
{{- $found := "^(app\\.kubernetes\\.io/(name|instance|component)|tidegate\\.dev/(runtime|job|step))$" -}}
{{- $set := "^(app\\.kubernetes\\.io/(name|instance|component|version|part-of|managed-by)|helm\\.sh/chart|tidegate\\.dev/(runtime|job|step))$" -}}
{{- range $name, $given := $labels -}}
{{- range $key, $_ := $given -}}
{{- if regexMatch (ternary $set $found (eq $name "commonLabels")) $key -}}
{{- $said = append $said (printf "%s sets %s, a label of the chart's own: choose another one" $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $said | toJson -}}
{{- end -}}

{{- /* (name, value): whether the variable holds a secret that everybody who reads the values, or a ConfigMap, would see.
A file's path is none, and neither is a switch, a Secret's name, or $(NAME), which Kubernetes replaces. */ -}}
{{- define "tidegate.holdsSecret" -}}
{{- $name := index . 0 -}}
{{- $value := toString (index . 1) -}}
{{- $switch := regexMatch "(?i)^(true|false|yes|no|on|off|[01])?$" $value -}}
{{- $told := or (hasPrefix "$(" $value) (regexMatch "^TIDEGATE_CLUSTER__.*_SECRET$" $name) -}}
{{- if regexMatch "://[^/\\s]*:[^/$\\s]+@" $value -}}true
{{- else if and (regexMatch "(?i)(SECRET|PASSWORD|TOKEN|SECRET_?KEY|API_?KEY|ACCESS_?KEY(_ID)?)$" $name) (not $switch) (not $told) -}}true
{{- end -}}
{{- end -}}

{{- define "tidegate.refusals.environment" -}}
{{- $said := list -}}
{{- $maps := dict "objectStorage.env" (list .Values.objectStorage.env "objectStorage.existingSecret") "engines.env" (list .Values.engines.env "engines.existingSecret") -}}
{{- range $name, $pool := .Values.gpuNodePools -}}
{{- $_ := set $maps (printf "gpuNodePools.%s.env" $name) (list (default dict $pool.env) "engines.existingSecret") -}}
{{- end -}}
{{- range $name, $map := $maps -}}
{{- range $key, $value := index $map 0 -}}
{{- if include "tidegate.holdsSecret" (list $key $value) -}}
{{- $said = append $said (printf "%s.%s holds a secret: put it into the Secret that %s names" $name $key (index $map 1)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $component := include "tidegate.components" . | fromJson -}}
{{- $values := include "tidegate.componentValues" (list $ $name) | fromJson -}}
{{- range $values.extraEnv -}}
{{- if include "tidegate.holdsSecret" (list .name (default "" .value)) -}}
{{- $said = append $said (printf "%s.extraEnv gives %s a secret as its value: name a Secret by valueFrom.secretKeyRef" $name .name) -}}
{{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range (ternary (include "tidegate.mlflowEnv" $) (include "tidegate.env" (list $ $component $values)) (eq $component "mlflow") | fromYaml).env -}}
{{- if hasKey $seen .name -}}
{{- $said = append $said (printf "%s.extraEnv names %s, which the container has already: take it out" $name .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- end -}}
{{- $said | toJson -}}
{{- end -}}
