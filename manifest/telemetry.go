package manifest

import (
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Metrics is where the numbers can be read.
type Metrics struct {
	Pos    Pos
	Listen string // a loopback address and port, or Socket
}

// Socket is the Listen of who listens on a socket in the application's own directory.
const Socket = "socket"

const (
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
