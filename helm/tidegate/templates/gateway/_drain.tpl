{{- /* What is left of a pod's last seconds for requests in flight; 10 are for writing what is buffered. */ -}}
{{- define "tidegate.drainSeconds" -}}
{{- sub (int .Values.gateway.terminationGracePeriodSeconds) (add (int .Values.gateway.preStopSeconds) 10) -}}
{{- end -}}
