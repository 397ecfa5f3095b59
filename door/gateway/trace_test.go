package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"cofferdam/numbers"
)

const (
	named  = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"
	unkept = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00"
)

var aTraceparent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`)

// spans are those that have ended since the last time, once there are n.
func (s *site) spans(t *testing.T, n int) []numbers.Span {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.traces.mu.Lock()
		got := s.traces.ended
		if len(got) >= n {
			s.traces.ended = nil
		}
		s.traces.mu.Unlock()
		if len(got) >= n {
			return got
		}
		if time.Now().After(end) {
			t.Fatalf("%d spans, want %d", len(got), n)
		}
	}
}

func TestRequestsAreTraced(t *testing.T) {
	all := []string{"static", "dynamic", "web"}
	for _, tt := range []struct {
		name, preface, said string
		ratio               float64
		public              []string
		method, path        string
		keeps               bool // the span
		goesOn              bool // the trace that was said
		links               bool
	}{
		{name: "from people", ratio: 1, public: all, keeps: true},
		{name: "from people, not kept", ratio: 0, public: all},
		{name: "from people who say one", said: named, ratio: 1, public: all, keeps: true, links: true},
		{name: "from people who want it kept", said: named, ratio: 0, public: all},
		{name: "from people who say nonsense", said: "00-" + strings.Repeat("é", 26), ratio: 1, public: all, keeps: true},
		{name: "of a method of theirs", method: "XYZZY-0123456789", ratio: 1, public: all, keeps: true},
		{name: "to what has secrets", ratio: 1, public: []string{"static"}},
		{name: "between services", preface: "COFFERDAM web dynamic 8081\n", ratio: 1, public: all, keeps: true},
		{name: "between services that say one", preface: "COFFERDAM web dynamic 8081\n", said: named, ratio: 0, public: all, keeps: true, goesOn: true},
		{name: "that is not kept", preface: "COFFERDAM web dynamic 8081\n", said: unkept, ratio: 1, public: all, goesOn: true},
		{name: "from who has secrets", preface: "COFFERDAM web dynamic 8081\n", said: named, ratio: 1, public: []string{"dynamic"}, goesOn: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startWith(t, Config{Routes: testRoutes, Traces: &Traces{Ratio: tt.ratio, Call: "x.y", Public: tt.public}}, nil, nil)
			var headers []string
			if tt.said != "" {
				headers = []string{"traceparent: " + tt.said, "tracestate: x=y"}
			}
			to := s.outside
			if tt.preface != "" {
				to = s.bridge
			}
			raw := get("/zoobar/index.cgi/", headers...)
			if tt.method != "" {
				raw = strings.Replace(raw, "GET", tt.method, 1)
			}
			if got := send(t, to, tt.preface+raw); got.status() != 200 {
				t.Fatalf("status %d", got.status())
			}
			r := s.dynamic.requests()[0]
			told, state := r.Header.Get("Traceparent"), r.Header.Get("Tracestate")
			switch {
			case !aTraceparent.MatchString(told) || len(r.Header["Traceparent"]) != 1:
				t.Errorf("the service is told %q", r.Header["Traceparent"])
			case (told[:35] == named[:35]) != tt.goesOn || told[36:52] == named[36:52]:
				t.Errorf("said %q, told %q", tt.said, told)
			case (state != "") != (tt.preface != "" && tt.said != ""):
				t.Errorf("the service is told the state %q", state)
			case tt.keeps && !strings.HasSuffix(told, "-01"):
				t.Errorf("kept, and told %q", told)
			}
			if !tt.keeps {
				send(t, s.outside, get("/index.html")) // has ended after that one
				for _, one := range s.spans(t, 0) {
					if one.Service == "dynamic" {
						t.Errorf("kept %+v", one)
					}
				}
				return
			}
			one := s.spans(t, 1)[0]
			caller, parent, method := "gateway", "", "GET"
			if tt.preface != "" {
				caller = "web"
			}
			if tt.goesOn {
				parent = named[36:52]
			}
			if tt.method != "" {
				method = "_OTHER"
			}
			if one.Trace != told[3:35] || one.ID != told[36:52] || one.Parent != parent || one.Caller != caller || one.Service != "dynamic" ||
				one.Method != method || one.Status != 200 || one.Took <= 0 || (one.Link == named) != tt.links || one.Link != "" && !tt.links {
				t.Errorf("told %q, kept %+v", told, one)
			}
		})
	}
}

// TestWithoutTraces: a trace between services passes, and one of people does not.
func TestWithoutTraces(t *testing.T) {
	s := start(t, Limits{}, nil)
	send(t, s.outside, get("/zoobar/index.cgi/", "traceparent: "+named, "tracestate: x=y"))
	send(t, s.bridge, "COFFERDAM web dynamic 8081\n"+get("/", "traceparent: "+named))
	got := s.dynamic.requests()
	if len(got) != 2 || got[0].Header.Get("Traceparent")+got[0].Header.Get("Tracestate") != "" || got[1].Header.Get("Traceparent") != named {
		t.Errorf("the service is told %v", got)
	}
}

// TestSpansOfRequestsAreBounded: who takes none is waited for by nobody.
func TestSpansOfRequestsAreBounded(t *testing.T) {
	tr := &tracer{Traces: Traces{Ratio: 1, Call: "x.y", Public: []string{"s"}}}
	for range numbers.MaxSpans + 10 {
		x := &exchange{caller: callerOutside, service: "s", start: time.Now(), status: 200}
		tr.begin(x, traceOf(nil))
		tr.end("GET", x, 1)
	}
	if len(tr.ended) != numbers.MaxSpans {
		t.Errorf("%d are kept", len(tr.ended))
	}
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	tr.report(ctx, func(_ context.Context, name string, body []byte) ([]byte, error) {
		var spans []numbers.Span
		if err := json.Unmarshal(body, &spans); err != nil || name != "x.y" || len(spans) != numbers.MaxSpans {
			t.Errorf("call of %s with %d spans, %v", name, len(spans), err)
		}
		calls++
		cancel()
		return nil, errors.New("nobody is there")
	})
	if calls != 1 || len(tr.ended) != 0 {
		t.Errorf("%d calls, %d spans are left", calls, len(tr.ended))
	}
}
