{{- /* (root, namespace of the pods): the node pools' file. With local extras each pool mounts the volume with the data, and
in the release's own namespace the authority's certificates; pipelines elsewhere find those in their Secret. */ -}}
{{- define "tidegate.nodePools" -}}
{{- $root := index . 0 -}}
{{- $pools := deepCopy $root.Values.gpuNodePools -}}
{{- $local := $root.Values.local -}}
{{- if and $local.enabled $local.nodePool.name (not (hasKey $pools $local.nodePool.name)) -}}
{{- $_ := set $pools $local.nodePool.name (dict "cpu" $local.nodePool.cpu "memory" $local.nodePool.memory "sharedMemory" $local.nodePool.sharedMemory) -}}
{{- end -}}
{{- $volumes := list -}}
{{- $mounts := list -}}
{{- if $local.enabled -}}
{{- $volumes = append $volumes (dict "name" "tidegate-data" "persistentVolumeClaim" (dict "claimName" (include "tidegate.claim" $root))) -}}
{{- $mounts = append $mounts (dict "name" "tidegate-data" "mountPath" (include "tidegate.dataPath" $root)) -}}
{{- end -}}
{{- if and $root.Values.certificateAuthority.configMap (eq (index . 1) $root.Release.Namespace) -}}
{{- $volumes = append $volumes (include "tidegate.authoritySource" $root | fromJson) -}}
{{- $mounts = append $mounts (include "tidegate.authorityMount" $root | fromJson) -}}
{{- end -}}
{{- range $name, $pool := $pools -}}
{{- if hasKey $pool "pricePerHour" -}}{{- $_ := set $pool "pricePerHour" (toString $pool.pricePerHour) -}}{{- end -}}
{{- if hasKey $pool "cpu" -}}{{- $_ := set $pool "cpu" (toString $pool.cpu) -}}{{- end -}}
{{- if $volumes -}}
{{- $_ := set $pool "volumes" (concat (default list $pool.volumes) $volumes) -}}
{{- $_ := set $pool "volumeMounts" (concat (default list $pool.volumeMounts) $mounts) -}}
{{- end -}}
{{- end -}}
{{- toYaml $pools -}}
{{- end -}}
