{{- /* Says all that is missing at once: each message names the value and what to do. */ -}}
{{- define "tidegate.validate" -}}
{{- $v := .Values -}}
{{- $said := list -}}
{{- if not $v.local.enabled -}}
{{- if not $v.database.existingSecret -}}
{{- $said = append $said "database.existingSecret is not set: name the Secret whose key 'url' holds the PostgreSQL URL of ledger and evidence, or set local.enabled=true to try things on one node" -}}
{{- end -}}
{{- if not $v.artifacts.uri -}}
{{- $said = append $said "artifacts.uri is not set: give the pipelines' artifacts an address, for example s3://models/artifacts" -}}
{{- end -}}
{{- if not $v.inferenceLog.uri -}}
{{- $said = append $said "inferenceLog.uri is not set: give the log of served requests an address, for example s3://models/inference-log" -}}
{{- end -}}
{{- if not $v.mlflow.url -}}
{{- if not $v.mlflow.server.existingSecret -}}
{{- $said = append $said "mlflow.server.existingSecret is not set: name the Secret whose key 'backend-store-uri' holds MLflow's database URL, or set mlflow.url to use an existing MLflow" -}}
{{- end -}}
{{- if not $v.mlflow.server.artifactRoot -}}
{{- $said = append $said "mlflow.server.artifactRoot is not set: give registered models an address, for example s3://models/mlflow, or set mlflow.url to use an existing MLflow" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $v.attestation.existingSecret -}}
{{- $said = append $said "attestation.existingSecret is not set: name the Secret whose key 'attestation.key' signs evaluation reports; make one with: kubectl create secret generic tidegate-attestation --from-literal=attestation.key=$(openssl rand -hex 32)" -}}
{{- end -}}
{{- if not $v.gateway.existingSecret -}}
{{- $said = append $said "gateway.existingSecret is not set: name the Secret with 'api-keys.yaml' and 'user-pseudonym.key'; make one with: kubectl create secret generic tidegate-gateway --from-file=api-keys.yaml --from-file=user-pseudonym.key" -}}
{{- end -}}
{{- if not $v.receiver.existingSecret -}}
{{- $said = append $said "receiver.existingSecret is not set: name the Secret whose key 'token' Alertmanager sends; make one with: kubectl create secret generic tidegate-receiver --from-file=token=FILE" -}}
{{- end -}}
{{- if and $v.gateway.httpRoute.enabled (not $v.gateway.httpRoute.parentRefs) -}}
{{- $said = append $said "gateway.httpRoute.parentRefs is empty: name the Gateway that the route belongs to, or set gateway.httpRoute.enabled=false" -}}
{{- end -}}
{{- if and $v.gateway.autoscaling.enabled (gt (int $v.gateway.autoscaling.minReplicas) (int $v.gateway.autoscaling.maxReplicas)) -}}
{{- $said = append $said "gateway.autoscaling.minReplicas is above gateway.autoscaling.maxReplicas: lower it" -}}
{{- end -}}
{{- if and $v.gateway.autoscaling.enabled (not (dig "requests" "cpu" "" $v.gateway.resources)) (not (dig "limits" "cpu" "" $v.gateway.resources)) -}}
{{- $said = append $said "gateway.autoscaling goes by the share of the requested CPU, and gateway.resources.requests.cpu is not set: set it" -}}
{{- end -}}
{{- if le (int $v.gateway.terminationGracePeriodSeconds) (add (int $v.gateway.preStopSeconds) 10) -}}
{{- $said = append $said (printf "gateway.terminationGracePeriodSeconds=%d ends pods before they have drained: set it above gateway.preStopSeconds + 10 = %d" (int $v.gateway.terminationGracePeriodSeconds) (add (int $v.gateway.preStopSeconds) 10)) -}}
{{- end -}}
{{- if and $v.redis.existingSecret (not $v.redis.address) -}}
{{- $said = append $said "redis.existingSecret is set but redis.address is not: give Redis' host:port, or unset the Secret" -}}
{{- end -}}
{{- if and $v.redis.tls (not $v.redis.address) -}}
{{- $said = append $said "redis.tls is set but redis.address is not: give Redis' host:port, or unset it" -}}
{{- end -}}
{{- if contains "://" $v.redis.address -}}
{{- $said = append $said (printf "redis.address is %s: give host:port alone, and for TLS set redis.tls=true" $v.redis.address) -}}
{{- end -}}
{{- if $v.certificateAuthority.configMap -}}
{{- $components := dict "operator" $v.operator "gateway" $v.gateway "scorer" $v.scorer "receiver" $v.receiver "mlflow.server" $v.mlflow.server "driftChecks" $v.driftChecks -}}
{{- range $name, $component := $components -}}
{{- $said = concat $said (include "tidegate.authorityClashes" (list $ $name $component.extraVolumes $component.extraVolumeMounts) | fromJsonArray) -}}
{{- end -}}
{{- range $name, $pool := $v.gpuNodePools -}}
{{- $said = concat $said (include "tidegate.authorityClashes" (list $ (printf "gpuNodePools.%s" $name) $pool.volumes $pool.volumeMounts) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "://[^/\\s\"]*:[^/$\\s\"]+@|password[\\\\\"=: ]+[^\\\\\"=: $]" ($v.features.config | toJson) -}}
{{- $said = append $said "features.config holds a password: write ${NAME} in its place, and give NAME to the gateways by gateway.extraEnv and to pipeline steps in their Secret" -}}
{{- end -}}
{{- if and $v.features.config $v.networkPolicy.redis (not $v.networkPolicy.redisPorts) (not $v.redis.address) -}}
{{- $said = append $said "networkPolicy.redis names peers of the online store, but no port of it is known: set networkPolicy.redisPorts" -}}
{{- end -}}
{{- if and (eq $v.driftChecks.mode "kfp") $v.driftChecks.deployments -}}
{{- $said = append $said "driftChecks.deployments is set, but driftChecks.mode=kfp renders no CronJob: empty the list and use 'tidegate pipelines schedule', or set the mode to cronjob" -}}
{{- end -}}
{{- if and (has $v.kfp.authentication (list "token" "cookie" "header")) (not $v.kfp.existingSecret) -}}
{{- $said = append $said (printf "kfp.existingSecret is not set: name the Secret whose key '%s' kfp.authentication=%s needs" $v.kfp.authentication $v.kfp.authentication) -}}
{{- end -}}
{{- if and $v.kfp.existingSecret (has $v.kfp.authentication (list "none" "serviceAccountToken")) -}}
{{- $said = append $said (printf "kfp.existingSecret is set, but kfp.authentication=%s uses none: set it to token, cookie or header" $v.kfp.authentication) -}}
{{- end -}}
{{- if and (eq $v.kfp.authentication "header") (not $v.kfp.headerName) -}}
{{- $said = append $said "kfp.headerName is not set: name the header that kfp.authentication=header sends, for example kubeflow-userid" -}}
{{- end -}}
{{- if and (not $v.kfp.url) (or $v.kfp.existingSecret $v.kfp.caConfigMap $v.kfp.namespace $v.kfp.uiUrl $v.kfp.version (ne $v.kfp.authentication "none")) -}}
{{- $said = append $said "kfp.url is not set, but other values of kfp are: give the address of Kubeflow Pipelines' API" -}}
{{- end -}}
{{- range list "network" "accounts" "names" "environment" -}}
{{- $said = concat $said (include (printf "tidegate.refusals.%s" .) $ | fromJsonArray) -}}
{{- end -}}
{{- if $said -}}
{{- fail (printf "\n\n- %s\n" (join "\n- " $said)) -}}
{{- end -}}
{{- end -}}
