package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"cofferdam/numbers"
	"cofferdam/sdk"
)

// collects is a collector that keeps what it is sent, by service, and a sender that knows it
// by a name that resolves nowhere.
func collects(t *testing.T, feed []numbers.Span) (s *sender, got func() map[string][]*spans.Span) {
	t.Helper()
	var mu sync.Mutex
	taken := make(map[string][]*spans.Span)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req otlp.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != "/v1/traces" || r.Host != "collector.example:4318" {
			t.Errorf("%s of %s: %v", r.URL.Path, r.Host, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, of := range req.ResourceSpans {
			for _, scope := range of.ScopeSpans {
				name := of.Resource.Attributes[0].Value.GetStringValue()
				taken[name] = append(taken[name], scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		numbers.ServeFeed(ours, func(want byte) any {
			n := min(len(feed), numbers.MaxSpans)
			some := feed[:n]
			feed = feed[n:]
			return some
		})
	}()
	t.Cleanup(func() {
		theirs.Close()
		<-done
	})
	s, err := newSender(t.Context(), Traces{To: "collector.example:4318", At: server.Listener.Addr().String()}, "shop", numbers.NewFeed(theirs), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, func() map[string][]*spans.Span {
		mu.Lock()
		defer mu.Unlock()
		return taken
	}
}

const aTrace, aSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

func TestSpansAreSent(t *testing.T) {
	start := time.Unix(1700000000, 5)
	var many []numbers.Span
	for range 2*numbers.MaxSpans + 1 {
		many = append(many, numbers.Span{Trace: aTrace, ID: aSpan, Caller: "web", Service: "bank", Method: "pay", Start: start, Took: time.Second})
	}
	many[0].Parent, many[0].Error, many[0].Denied = "0000000000000001", "denied", true
	s, got := collects(t, many)
	if err := s.sendAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	bank := got()["bank"]
	if len(bank) != len(many) {
		t.Fatalf("%d of %d arrived", len(bank), len(many))
	}
	one := bank[0]
	if one.Name != "bank/pay" || one.Kind != spans.Span_SPAN_KIND_SERVER || one.EndTimeUnixNano-one.StartTimeUnixNano != 1e9 || one.Status.Code != spans.Status_STATUS_CODE_ERROR {
		t.Errorf("a span arrives as %v", one)
	}
	var said []string
	for _, kv := range one.Attributes {
		said = append(said, kv.Key+"="+kv.Value.GetStringValue())
	}
	want := "cofferdam.caller=web cofferdam.verdict=deny rpc.system=cofferdam rpc.service=bank rpc.method=pay error.type=denied"
	if strings.Join(said, " ") != want {
		t.Errorf("attributes %q, want %q", said, want)
	}
}

// TestHostileSpans: what the gateway hands over comes from who speaks with people.
func TestHostileSpans(t *testing.T) {
	s, got := collects(t, nil)
	give := func(all []numbers.Span) error {
		body, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.take(t.Context(), sdk.Caller{}, body)
		return err
	}
	for name, body := range map[string]string{"no JSON": "spans", "another type": `{"trace":1}`, "nothing": ""} {
		if _, err := s.take(t.Context(), sdk.Caller{}, []byte(body)); !errors.Is(err, sdk.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := give(make([]numbers.Span, numbers.MaxSpans+1)); !errors.Is(err, sdk.ErrMalformed) {
		t.Errorf("too many at a time: %v", err)
	}
	if err := give([]numbers.Span{
		{}, {Trace: "short", ID: aSpan}, {Trace: aTrace, ID: aSpan[:15]}, {Trace: strings.Repeat("0", 32), ID: aSpan}, {Trace: aTrace, ID: aSpan, Parent: "x"},
		{Trace: aTrace, ID: aSpan, Service: "page", Method: "GET", Status: 503, Link: "not one"},
		{Trace: aTrace, ID: aSpan, Service: "page\xff", Method: "GET", Status: 200},
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.sendAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if page := got()["page"]; len(page) != 1 || len(page[0].Links) != 0 || page[0].Status.Code != spans.Status_STATUS_CODE_ERROR {
		t.Errorf("arrived %v", got())
	}
	// Nobody sends what is kept: it is bounded, and so is what is remembered of names.
	for range maxGiven / numbers.MaxSpans {
		if err := give(make([]numbers.Span, numbers.MaxSpans)); err != nil {
			t.Fatal(err)
		}
	}
	if err := give(make([]numbers.Span, 1)); !errors.Is(err, sdk.ErrBusy) {
		t.Errorf("more than is kept: %v", err)
	}
	for i := range 3 * maxServices {
		s.resourceOf(strings.Repeat("x", i+1))
	}
	if len(s.of) > maxServices {
		t.Errorf("%d services are remembered", len(s.of))
	}
}

// TestCollectorIsDown: spans are lost then, and nothing else.
func TestCollectorIsDown(t *testing.T) {
	s, _ := collects(t, []numbers.Span{{Trace: aTrace, ID: aSpan, Service: "bank"}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	down, err := newSender(ctx, Traces{To: "collector.example:4318", At: "127.0.0.1:1"}, "shop", s.feed, s.log)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := down.send(ctx); n != 1 || err != nil {
		t.Errorf("send = %d, %v", n, err)
	}
}
