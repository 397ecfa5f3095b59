package supervisor

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// FuzzLine has what is written of a line read again.
func FuzzLine(f *testing.F) {
	for _, text := range []string{
		"", "plain", `{"msg":"a \"b\""}`, "\x00\x1f\x7f\t", "ä€\U0001F600\u2028", "\xff", "a\xff\xfe\xc3b\xe2\x82", "\xed\xa0\x80", "\uFFFD", "<&>",
		strings.Repeat("\xff", 70),
	} {
		f.Add([]byte(text))
	}
	at := time.Date(2026, 11, 27, 1, 2, 3, 4_000, time.FixedZone("elsewhere", 3600))
	from := origin{"a", "a-1", "stdout"}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got Line
		b := from.appendJSON(nil, at, text)
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %q: %v", text, b, err)
		}
		if want := from.line(at, text); got != want {
			t.Errorf("%q: %q is %+v, want %+v", text, b, got, want)
		}
	})
}

// BenchmarkGather is what a line of a gateway costs.
func BenchmarkGather(b *testing.B) {
	logs := newLogs(b.TempDir(), nil)
	defer logs.close()
	text := []byte(`{"time":"2026-11-27T01:02:03.000004Z","level":"INFO","msg":"request","id":"0123456789abcdef","caller":"gateway","peer":"127.0.0.1:51234","method":"GET","path":"/a","service":"web","principal":"","status":200,"bytes":528,"ms":1.234}` + "\n")
	w := logs.stream("gateway", "gateway-1", "stdout")
	piece := []byte(strings.Repeat(string(text), 64))
	b.ReportAllocs()
	for b.Loop() {
		w.Write(piece)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/line")
}
