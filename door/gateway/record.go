package gateway

import (
	"net/http"
	"time"
)

// statusClientGone stands in the log for a request whose client left before
// there was an answer. It is never sent.
const statusClientGone = 499

// maxLogged is how much of a text from outside is logged, in bytes.
const maxLogged = 512

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	cause  error // why it was not the service's answer
}

// WriteHeader implements [http.ResponseWriter].
func (w *recorder) WriteHeader(status int) {
	if status >= 200 { // those below announce the answer
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets [http.ResponseController] flush.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// record logs one request: never its query, which may hold what is nobody's
// business.
func (g *Gateway) record(r *http.Request, x *exchange, w *recorder, took time.Duration) {
	attrs := []any{
		"id", x.id,
		"caller", x.caller,
		"peer", r.RemoteAddr,
		"method", bounded(r.Method),
		"path", bounded(r.URL.Path),
		"service", x.service,
		"principal", bounded(x.principal),
		"status", w.status,
		"bytes", w.bytes,
		"ms", float64(took.Microseconds()) / 1000,
	}
	if w.cause != nil {
		attrs = append(attrs, "error", bounded(w.cause.Error()))
	}
	g.log.Info("request", attrs...)
}

func bounded(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}
