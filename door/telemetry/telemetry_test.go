package telemetry

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"cofferdam/numbers"
)

// asked is a handler that shows s.
func asked(t *testing.T, s numbers.Snapshot) (url string, theirs net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		numbers.ServeFeed(ours, func(byte) any { return s })
	}()
	server := httptest.NewServer(Handler(numbers.NewFeed(theirs), slog.New(slog.DiscardHandler)))
	t.Cleanup(func() {
		server.Close()
		theirs.Close()
		<-done
	})
	return server.URL, theirs
}

// get is what a request with that method and host is answered.
func get(t *testing.T, method, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestMetrics(t *testing.T) {
	var h numbers.Histogram
	h.Observe(3 * time.Millisecond)
	h.Observe(time.Hour) // beyond all buckets
	url, _ := asked(t, numbers.Snapshot{
		Version: "v\"1\n", // what has to be escaped is
		Services: []numbers.Service{{
			Name: "bank", CPU: 1500 * time.Millisecond, Exits: map[string]uint64{"oom": 2},
			Methods: []numbers.Method{{Name: "give", Duration: h.Copy()}},
		}},
	})
	code, text := get(t, "GET", url+"/metrics", "")
	if code != http.StatusOK {
		t.Fatalf("GET /metrics = %d, %s", code, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	one := func(name string) *dto.Metric {
		f := families[name]
		if f == nil || len(f.Metric) != 1 {
			t.Fatalf("%s: %v", name, f)
		}
		return f.Metric[0]
	}
	if got := one("cofferdam_build_info").Label[0].GetValue(); got != "v\"1\n" {
		t.Errorf("version %q", got)
	}
	if got := one("cofferdam_cpu_seconds_total").Counter.GetValue(); got != 1.5 {
		t.Errorf("1.5 s of CPU are %v", got)
	}
	if m := one("cofferdam_exits_total"); m.Counter.GetValue() != 2 || m.Label[0].GetValue() != "oom" || m.Label[1].GetValue() != "bank" {
		t.Errorf("exits %v", m)
	}
	d := one("cofferdam_call_duration_seconds").Histogram
	if d.GetSampleCount() != 2 || d.GetSampleSum() != 3600.003 {
		t.Errorf("duration: count %d, sum %v", d.GetSampleCount(), d.GetSampleSum())
	}
	if !slices.ContainsFunc(d.Bucket, func(b *dto.Bucket) bool { return b.GetUpperBound() == 0.005 && b.GetCumulativeCount() == 1 }) ||
		!slices.ContainsFunc(d.Bucket, func(b *dto.Bucket) bool {
			return math.IsInf(b.GetUpperBound(), 1) && b.GetCumulativeCount() == 2
		}) {
		t.Errorf("buckets %v", d.Bucket)
	}
	for name, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", name)
		}
	}
}

// TestWhoMayAsk: for metrics, and under a name that leads nowhere but here.
func TestWhoMayAsk(t *testing.T) {
	url, _ := asked(t, numbers.Snapshot{})
	for _, tt := range []struct {
		method, path, host string
		want               int
	}{
		{"GET", "/metrics", "localhost:9464", 200},
		{"GET", "/metrics", "127.0.0.1", 200},
		{"GET", "/metrics", "[::1]:9464", 200},
		{"HEAD", "/metrics", "localhost", 200},
		{"GET", "/metrics", "rebound.example", 403},
		{"GET", "/metrics", "localhost.rebound.example", 403},
		{"GET", "/metrics", "192.0.2.1:9464", 403},
		{"GET", "/metrics", "[2001:db8::1]", 403},
		{"POST", "/metrics", "localhost", 405},
		{"GET", "/", "localhost", 404},
		{"GET", "/debug/pprof/", "localhost", 404},
		{"GET", "/metrics/x", "localhost", 404},
	} {
		if got, _ := get(t, tt.method, url+tt.path, tt.host); got != tt.want {
			t.Errorf("%s %s of %s = %d, want %d", tt.method, tt.path, tt.host, got, tt.want)
		}
	}
}

// TestNoNumbers: who cannot be told is not told zeros.
func TestNoNumbers(t *testing.T) {
	url, theirs := asked(t, numbers.Snapshot{})
	theirs.Close()
	if code, text := get(t, "GET", url+"/metrics", "localhost"); code != http.StatusInternalServerError || strings.Contains(text, "cofferdam_uptime") {
		t.Errorf("without a feed GET /metrics = %d, %s", code, text)
	}
}

// Who has gone by the time that it is his turn is not answered: others would wait for it.
func TestNobodyIsAnsweredWhoHasGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := inTurn(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was answered") }))
	for range 100 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/metrics", nil))
	}
}
