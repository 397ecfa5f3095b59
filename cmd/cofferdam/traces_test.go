package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"cofferdam/sdk"
)

// collects is "collects ADDRESSFILE SPANSFILE": it takes spans by OTLP over HTTP, on an address
// that it writes to one file, and writes a line for each to the other.
func collects() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	out, err := os.Create(os.Args[2])
	if err != nil {
		panic(err)
	}
	http.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil {
			fmt.Fprintln(out, "error", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, of := range req.ResourceSpans {
			service := attributes(of.Resource.Attributes)["service.name"]
			for _, scope := range of.ScopeSpans {
				for _, s := range scope.Spans {
					a := attributes(s.Attributes)
					parent := "-"
					if len(s.ParentSpanId) > 0 {
						parent = fmt.Sprintf("%x", s.ParentSpanId)
					}
					fmt.Fprintf(out, "%s service=%s trace=%x span=%x parent=%s caller=%s verdict=%s error=%s rpc=%s:%s/%s http=%s:%s links=%d\n", s.Name, service, s.TraceId, s.SpanId, parent,
						a["cofferdam.caller"], a["cofferdam.verdict"], a["error.type"], a["rpc.system"], a["rpc.service"], a["rpc.method"], a["http.request.method"], a["http.response.status_code"], len(s.Links))
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	if err := os.WriteFile(os.Args[1], []byte(l.Addr().String()), 0o644); err != nil {
		panic(err)
	}
	http.Serve(l, nil)
}

func attributes(all []*common.KeyValue) map[string]string {
	out := make(map[string]string)
	for _, kv := range all {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = fmt.Sprint(v.IntValue)
		}
	}
	return out
}

// relayer is "relayer METHOD NEXT": it answers its method with what next, a method or a URL, answers, asked as
// part of the same trace, and before that the trace of the request. With $RELAYER_HTTP it
// does so for requests over HTTP, too.
func relayer() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := sdk.Connect(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	next := func(ctx context.Context) ([]byte, error) { return c.Call(ctx, os.Args[2], nil) }
	if strings.HasPrefix(os.Args[2], "http://") {
		next = func(ctx context.Context) ([]byte, error) {
			req, err := http.NewRequestWithContext(ctx, "GET", os.Args[2], nil)
			if err != nil {
				return nil, err
			}
			req.Header.Set("Traceparent", sdk.TraceOf(ctx).String())
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return nil, err
			}
			defer resp.Body.Close()
			return io.ReadAll(resp.Body)
		}
	}
	if addr := os.Getenv("RELAYER_HTTP"); addr != "" {
		go http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out, err := next(sdk.ContinueTrace(r.Context(), r.Header.Get("Traceparent")))
			fmt.Fprintf(w, "[%s %s] %s %v\n", r.Header.Get("Traceparent"), r.Header.Get("Tracestate"), out, err)
		}))
	}
	c.Serve(ctx, map[string]sdk.Handler{os.Args[1]: func(ctx context.Context, from sdk.Caller, _ []byte) ([]byte, error) {
		out, err := next(ctx)
		return fmt.Appendf(nil, "[%s] %s", from.Trace, out), err
	}})
}
