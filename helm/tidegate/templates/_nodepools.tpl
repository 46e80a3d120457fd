{{- /* The node pools' file. With local extras each pool mounts the volume with the data. */ -}}
{{- define "tidegate.nodePools" -}}
{{- $pools := deepCopy .Values.gpuNodePools -}}
{{- $local := .Values.local -}}
{{- if and $local.enabled $local.nodePool.name (not (hasKey $pools $local.nodePool.name)) -}}
{{- $_ := set $pools $local.nodePool.name (dict "cpu" $local.nodePool.cpu "memory" $local.nodePool.memory "sharedMemory" $local.nodePool.sharedMemory) -}}
{{- end -}}
{{- range $name, $pool := $pools -}}
{{- if hasKey $pool "pricePerHour" -}}{{- $_ := set $pool "pricePerHour" (toString $pool.pricePerHour) -}}{{- end -}}
{{- if hasKey $pool "cpu" -}}{{- $_ := set $pool "cpu" (toString $pool.cpu) -}}{{- end -}}
{{- if $local.enabled -}}
{{- $volume := dict "name" "tidegate-data" "persistentVolumeClaim" (dict "claimName" (include "tidegate.claim" $)) -}}
{{- $mount := dict "name" "tidegate-data" "mountPath" (include "tidegate.dataPath" $) -}}
{{- $_ := set $pool "volumes" (append (default list $pool.volumes) $volume) -}}
{{- $_ := set $pool "volumeMounts" (append (default list $pool.volumeMounts) $mount) -}}
{{- end -}}
{{- end -}}
{{- toYaml $pools -}}
{{- end -}}
