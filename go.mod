module cofferdam

go 1.26.0

require (
	github.com/prometheus/client_golang v1.25.0 // the formats of metrics, in cofferdam-telemetry only
	github.com/prometheus/client_model v0.6.3 // what metrics are gathered into, in cofferdam-telemetry and tests
	github.com/prometheus/common v0.72.0 // reads metrics; tests only
	github.com/rogpeppe/go-internal v1.16.0 // testscript: the command is tested by scripts that read like a terminal; tests only
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // holds docs/manifest.schema.json against the parser; tests only
	github.com/spf13/cobra v1.10.2 // commands, flags and their help; idle once the application is up
	go.opentelemetry.io/otel v1.47.0 // names and values of OpenTelemetry, in cofferdam-telemetry only
	go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp v1.47.0 // sends spans; brings gRPC along; there only
	go.opentelemetry.io/otel/sdk v1.47.0 // spans; there only
	go.opentelemetry.io/otel/trace v1.47.0 // their places in traces; there only
	go.opentelemetry.io/proto/otlp v1.11.0 // what a collector is sent; tests only
	go.yaml.in/yaml/v4 v4.0.0 // the manifest, with the line and column of every node; before the first program runs
	golang.org/x/net v0.62.0 // dns/dnsmessage: messages of DNS, in the egress door
	golang.org/x/sys v0.49.0 // system calls and constants that package syscall lacks
	golang.org/x/term v0.47.0 // whether output is a terminal: colours, and what run says first
	google.golang.org/protobuf v1.36.12 // reads that; tests only
	modernc.org/sqlite v1.61.1 // databases of the example services, without C; not linked into cofferdam
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.30.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel/exporters/otlp/otlptrace v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.opentelemetry.io/otel/metric v1.47.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/grpc v1.83.2 // indirect
	modernc.org/libc v1.79.0 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)
