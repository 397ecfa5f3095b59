package telemetry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"cofferdam/numbers"
	"cofferdam/sdk"
)

// Traces is where spans are sent.
type Traces struct {
	To string `json:"to"` // host:port
	At string `json:"at"` // the address and port at which that is found inside
}

// Bounds of what is sent.
const (
	sendEvery   = time.Second
	sendTimeout = 10 * time.Second
	maxTries    = 30 * time.Second // for one batch; then it is lost
	lastTime    = 500 * time.Millisecond
	maxServices = 512 // whose names are remembered
)

// sender takes spans from the feed and sends them on.
type sender struct {
	feed     *numbers.Feed
	log      *slog.Logger
	exporter sdktrace.SpanExporter
	of       map[string]*resource.Resource // by service
	app      string

	mu    sync.Mutex
	given []numbers.Span // by the gateway, at most maxGiven; guarded by mu
}

// maxGiven bounds what is kept of what the gateway gives.
const maxGiven = 8 * numbers.MaxSpans

// takeFrom lets the gateway hand spans over until ctx ends.
func (s *sender) takeFrom(ctx context.Context) error {
	c, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Serve(ctx, map[string]sdk.Handler{"spans": s.take})
}

func (s *sender) take(_ context.Context, _ sdk.Caller, body []byte) ([]byte, error) {
	var spans []numbers.Span
	if err := json.Unmarshal(body, &spans); err != nil || len(spans) > numbers.MaxSpans {
		return nil, sdk.ErrMalformed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.given)+len(spans) > maxGiven {
		return nil, sdk.ErrBusy
	}
	s.given = append(s.given, spans...)
	return nil, nil
}

// sendGiven sends what the gateway has given.
func (s *sender) sendGiven(ctx context.Context) {
	s.mu.Lock()
	spans := s.given
	s.given = nil
	s.mu.Unlock()
	for batch := range slices.Chunk(spans, numbers.MaxSpans) {
		s.export(ctx, batch)
	}
}

func newSender(ctx context.Context, t Traces, app string, feed *numbers.Feed, log *slog.Logger) (*sender, error) {
	dialer := &net.Dialer{Timeout: sendTimeout}
	client := &http.Client{Timeout: sendTimeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, t.At) // there is nowhere else to go
		},
		MaxIdleConns: 1, IdleConnTimeout: time.Minute,
	}}
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpoint(t.To), otlptracehttp.WithInsecure(), otlptracehttp.WithHTTPClient(client),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: maxTries}))
	if err != nil {
		return nil, fmt.Errorf("telemetry: traces: %w", err)
	}
	return &sender{feed: feed, log: log, exporter: exporter, of: make(map[string]*resource.Resource), app: app}, nil
}

// run sends until ctx ends, and then what there still is. The error is of the feed.
func (s *sender) run(ctx context.Context) error {
	for tick := time.NewTicker(sendEvery); ; {
		select {
		case <-tick.C:
			if err := s.sendAll(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
			defer cancel()
			return s.sendAll(last)
		}
	}
}

func (s *sender) sendAll(ctx context.Context) error {
	s.sendGiven(ctx)
	for n := numbers.MaxSpans; n == numbers.MaxSpans; {
		var err error
		if n, err = s.send(ctx); err != nil {
			return err
		}
	}
	return nil
}

// send sends one batch, and says how many spans that were.
func (s *sender) send(ctx context.Context) (int, error) {
	var spans []numbers.Span
	if err := s.feed.Ask(numbers.WantSpans, &spans); err != nil || len(spans) == 0 {
		return 0, err
	}
	s.export(ctx, spans)
	return len(spans), nil
}

func (s *sender) export(ctx context.Context, spans []numbers.Span) {
	batch := make([]sdktrace.ReadOnlySpan, 0, len(spans))
	for i := range spans {
		if one, err := s.spanOf(&spans[i]); err == nil {
			batch = append(batch, one)
		} else {
			s.log.Error("span", "error", err)
		}
	}
	if err := s.exporter.ExportSpans(ctx, batch); err != nil {
		s.log.Warn("spans are lost", "spans", len(batch), "error", err)
	}
}

// spanOf is a span in the words of OpenTelemetry. It is that of who is asked, seen
// from the middle.
func (s *sender) spanOf(n *numbers.Span) (sdktrace.ReadOnlySpan, error) {
	at, err := contextOf(n.Trace, n.ID)
	if err != nil {
		return nil, err
	}
	out := tracetest.SpanStub{ // the one way to have spans that the library has not measured
		Name:      n.Method,
		SpanKind:  trace.SpanKindServer,
		StartTime: n.Start,
		EndTime:   n.Start.Add(n.Took),
		Resource:  s.resourceOf(n.Service),
		Attributes: []attribute.KeyValue{
			attribute.String("cofferdam.caller", n.Caller),
			attribute.String("cofferdam.verdict", "allow"),
		},
	}
	out.SpanContext = at
	if n.Parent != "" {
		if out.Parent, err = contextOf(n.Trace, n.Parent); err != nil {
			return nil, err
		}
		out.Parent = out.Parent.WithRemote(true)
	}
	if link, ok := linkOf(n.Link); ok {
		out.Links = []sdktrace.Link{{SpanContext: link}}
	}
	add := func(attributes ...attribute.KeyValue) { out.Attributes = append(out.Attributes, attributes...) }
	switch {
	case n.Status != 0:
		add(attribute.String("http.request.method", n.Method), attribute.Int("http.response.status_code", n.Status))
	case n.Service == "":
		out.Name = "call" // of what is not there: what it was is the program's to say, and not for here
		add(attribute.String("rpc.system", "cofferdam"))
	default:
		out.Name = n.Service + "/" + n.Method
		add(attribute.String("rpc.system", "cofferdam"), attribute.String("rpc.service", n.Service), attribute.String("rpc.method", n.Method))
	}
	if n.Denied {
		out.Attributes[1] = attribute.String("cofferdam.verdict", "deny")
	}
	switch {
	case n.Error != "":
		add(attribute.String("error.type", n.Error))
		out.Status = sdktrace.Status{Code: codes.Error, Description: n.Error}
	case n.Status >= 500:
		add(attribute.String("error.type", strconv.Itoa(n.Status)))
		out.Status = sdktrace.Status{Code: codes.Error}
	}
	return out.Snapshot(), nil
}

func (s *sender) resourceOf(service string) *resource.Resource {
	if service == "" {
		service = "unknown_service"
	}
	r := s.of[service]
	if r == nil {
		r = resource.NewSchemaless(attribute.String("service.name", service), attribute.String("service.namespace", s.app))
		if len(s.of) >= maxServices {
			clear(s.of) // the names are those of a manifest, unless the gateway makes some up
		}
		s.of[service] = r
	}
	return r
}

// linkOf is what somebody outside said that he was part of.
func linkOf(traceparent string) (trace.SpanContext, bool) {
	t := sdk.TraceOf(sdk.ContinueTrace(context.Background(), traceparent))
	if t.IsZero() {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: t.ID, SpanID: t.Span, Remote: true}), true
}

func contextOf(traceID, spanID string) (trace.SpanContext, error) {
	var c trace.SpanContextConfig
	id, err := hex.DecodeString(traceID)
	if err == nil && len(id) == len(c.TraceID) {
		copy(c.TraceID[:], id)
		if id, err = hex.DecodeString(spanID); err == nil && len(id) == len(c.SpanID) {
			copy(c.SpanID[:], id)
		}
	}
	c.TraceFlags = trace.FlagsSampled
	at := trace.NewSpanContext(c)
	if !at.IsValid() {
		return at, fmt.Errorf("a span %q of a trace %q", spanID, traceID)
	}
	return at, nil
}
