{{- define "barrage.labels" -}}
app.kubernetes.io/name: barrage
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What selects the pods of a role: (dict "root" $ "role" "gateway"). */}}
{{- define "barrage.selector" -}}
app.kubernetes.io/name: barrage
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "barrage.name" -}}
{{ printf "%s-%s" .root.Release.Name .role | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "barrage.secret" -}}
{{ .Values.existingSecret | default (printf "%s-barrage" .Release.Name) }}
{{- end }}

{{/* The pod of a role. */}}
{{- define "barrage.pod" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- $settings := .settings -}}
metadata:
  labels:
    {{- include "barrage.selector" (dict "root" $root "role" $role) | nindent 4 }}
  annotations:
    checksum/config: {{ $root.Values.config | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  automountServiceAccountToken: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: { type: RuntimeDefault }
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "barrage.selector" (dict "root" $root "role" $role) | nindent 10 }}
  containers:
    - name: barrage
      image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: ["serve", "--config", "/etc/barrage/barrage.toml", "--roles", {{ $role | quote }}]
      ports:
        - { name: http, containerPort: 8080 }
        - { name: nodes, containerPort: 7070 }
      env:
        - name: POD_IP
          valueFrom: { fieldRef: { fieldPath: status.podIP } }
        - { name: BARRAGE__NODES__ADVERTISE, value: "$(POD_IP):7070" }
        - { name: BARRAGE__SERVER__NAMESPACE, value: {{ $root.Values.namespace | quote }} }
        - { name: BARRAGE__KAFKA__BROKERS, value: {{ required "kafka.brokers is needed" $root.Values.kafka.brokers | quote }} }
        {{- range $key, $name := dict "hmac-secret" "BARRAGE__AUTH__HMAC_SECRET" "admin-key" "BARRAGE__AUTH__ADMIN_KEY" "store-url" "BARRAGE__STORE__URL" "redis-url" "BARRAGE__REDIS__URL" }}
        - name: {{ $name }}
          valueFrom: { secretKeyRef: { name: {{ include "barrage.secret" $root }}, key: {{ $key }} } }
        {{- end }}
        - { name: BARRAGE__ARCHIVE__URL, value: {{ $root.Values.archive.url | quote }} }
        {{- with $root.Values.uploads.existingClaim }}
        - { name: BARRAGE__UPLOADS__DIRECTORY, value: /var/lib/uploads }
        {{- end }}
        {{- with $root.Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 5
      livenessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 10
        failureThreshold: 6
      startupProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 2
        failureThreshold: 60
      {{- with $root.Values.preStopSeconds }}
      lifecycle:
        preStop: { sleep: { seconds: {{ . }} } }
      {{- end }}
      resources:
        {{- toYaml $settings.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: ["ALL"] }
      volumeMounts:
        - { name: config, mountPath: /etc/barrage, readOnly: true }
        - { name: data, mountPath: /var/lib/barrage }
        {{- with $root.Values.uploads.existingClaim }}
        - { name: uploads, mountPath: /var/lib/uploads }
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ $root.Release.Name }}-barrage }
    {{- if not (dig "persistence" "enabled" false $settings) }}
    - { name: data, emptyDir: {} }
    {{- end }}
    {{- with $root.Values.uploads.existingClaim }}
    - name: uploads
      persistentVolumeClaim: { claimName: {{ . }} }
    {{- end }}
{{- end }}
