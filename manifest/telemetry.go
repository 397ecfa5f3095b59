package manifest

import (
	"net/netip"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"cofferdam/address"
)

// Metrics is where the numbers can be read.
type Metrics struct {
	Pos    Pos
	Listen string // a loopback address and port, or Socket
}

// Socket is the Listen of who listens on a socket in the application's own directory.
const Socket = "socket"

// Traces is where spans are sent.
type Traces struct {
	Pos   Pos
	To    address.Endpoint // takes OTLP over HTTP
	Ratio float64          // of the traces that begin here, how many are kept: 0 to 1
}

const (
	someTraces   shape = "a mapping: the traces"
	aRatio       shape = "a number from 0 to 1"
	someMetrics  shape = "a mapping: the metrics"
	aLocalListen shape = "a loopback address and a port, such as 127.0.0.1:9464, or the word socket"
)

func metricsKeys() table[Metrics] {
	return table[Metrics]{keys: []key[Metrics]{
		{"listen", aLocalListen, true, "", "Where Prometheus asks for /metrics: a loopback address, which every user of the host reaches, or a Unix socket beside that of the operator, which only its owner does; up says where. Port 0 takes a free one.", readMetricsListen},
	}}
}

func readMetricsListen(r *reader, v value, m *Metrics) {
	text, ok := r.text(v, aLocalListen)
	if !ok {
		return
	}
	if text == Socket {
		m.Listen = text
		return
	}
	if port, local := strings.CutPrefix(text, "localhost:"); local {
		text = "127.0.0.1:" + port
	}
	at, err := netip.ParseAddrPort(text)
	switch {
	case err != nil || at.Addr().Zone() != "":
		r.refuse(v, "", "%.64q is not %s", text, aLocalListen)
	case !at.Addr().IsLoopback():
		r.refuse(v, "write 127.0.0.1:PORT, and put what asks for a password in front of it", "%s is not a loopback address: whoever reaches it reads how often anything happens, of whatever secrecy", at.Addr())
	default:
		m.Listen = at.String()
	}
}

func (m *Metrics) node() *yaml.Node {
	if m == nil {
		return nil
	}
	var o object
	o.add("listen", text(m.Listen))
	return o.done()
}

func tracesKeys() table[Traces] {
	return table[Traces]{keys: []key[Traces]{
		{"otlp", anEndpoint, true, "", "Who takes spans, by OTLP over HTTP: an OpenTelemetry collector. The door telemetry may reach it, whatever address it has, and nothing else; a path or TLS is the collector's to add.", readOTLP},
		{"ratio", aRatio, false, "1: all", "How many of the traces that begin here are kept. One that has begun elsewhere is kept if that said so.", readRatio},
	}}
}

func readOTLP(r *reader, v value, t *Traces) {
	text, ok := r.text(v, anEndpoint)
	if !ok {
		return
	}
	hint := ""
	if rest, web := strings.CutPrefix(text, "http://"); web {
		hint = "write " + strings.TrimSuffix(rest, "/")
	}
	to, err := address.ParseEndpoint(text)
	if err != nil {
		r.refuse(v, hint, "%.64q is not %s: %v", text, anEndpoint, err)
		return
	}
	t.To = to
}

func readRatio(r *reader, v value, t *Traces) {
	ratio, err := strconv.ParseFloat(v.node.Value, 64)
	if kind := kindOf(v.node); kind != isInteger && kind != isFloat || err != nil || !(ratio >= 0 && ratio <= 1) {
		r.refuse(v, "", "want %s", aRatio)
		return
	}
	t.Ratio = ratio
}

func (t *Traces) node() *yaml.Node {
	if t == nil {
		return nil
	}
	var o object
	o.add("otlp", text(t.To.String()))
	if t.Ratio != 1 {
		o.add("ratio", number(strconv.FormatFloat(t.Ratio, 'f', -1, 64)))
	}
	return o.done()
}
