package gateway

import (
	"context"
	"log/slog"
	"time"
)

// statusClientGone stands in the log for a request whose client left before
// there was an answer. It is never sent.
const statusClientGone = 499

// maxLogged is how much of a text from outside is logged, in bytes.
const maxLogged = 512

// record logs one request: never its query, which may hold what is nobody's
// business.
func (c *client) record() {
	x := &c.x
	took := time.Since(x.start)
	if c.g.traces != nil {
		c.g.traces.end(c.req.method, x, took)
	}
	attrs := [...]slog.Attr{
		slog.String("id", x.id),
		slog.String("caller", x.caller),
		slog.String("peer", c.from),
		slog.String("method", bounded(c.req.method)),
		slog.String("path", bounded(c.req.path)),
		slog.String("service", x.service),
		slog.String("principal", bounded(x.principal)),
		slog.Int("status", x.status),
		slog.Int64("bytes", x.bytes),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		{},
	}
	if x.cause != nil {
		attrs[len(attrs)-1] = slog.String("error", bounded(x.cause.Error()))
	}
	c.g.log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs[:]...)
}

func bounded(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}
