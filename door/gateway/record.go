package gateway

import (
	"io"
	"strconv"
	"sync"
	"time"

	"cofferdam/quote"
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
	now := time.Now()
	took := now.Sub(x.start)
	if c.g.traces != nil {
		c.g.traces.end(c.req.method, x, took)
	}
	c.line = append(now.AppendFormat(append(c.line[:0], `{"time":"`...), time.RFC3339Nano), `","level":"INFO","msg":"request"`...)
	for _, one := range [...]field{
		{`,"id":`, x.id}, {`,"caller":`, x.caller}, {`,"peer":`, c.from}, {`,"method":`, c.req.method},
		{`,"path":`, c.req.path}, {`,"service":`, x.service}, {`,"principal":`, x.principal},
	} {
		c.line = quote.AppendMost(append(c.line, one.name...), one.value, maxLogged)
	}
	c.line = strconv.AppendInt(append(c.line, `,"status":`...), int64(x.status), 10)
	c.line = strconv.AppendInt(append(c.line, `,"bytes":`...), x.bytes, 10)
	c.line = strconv.AppendFloat(append(c.line, `,"ms":`...), float64(took.Microseconds())/1000, 'f', -1, 64)
	if x.cause != nil {
		c.line = quote.AppendMost(append(c.line, `,"error":`...), x.cause.Error(), maxLogged)
	}
	c.line = append(c.line, "}\n"...)
	c.g.out.Write(c.line)
}

func bounded(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}

const (
	// gatherFor is how long a line waits for others, and gatherMost how much is gathered at most: each write
	// wakes whoever reads the log.
	gatherFor  = 20 * time.Millisecond
	gatherMost = 16 << 10
)

// gathered writes what comes in a short while at once. It is safe for concurrent use.
type gathered struct {
	to io.Writer

	mu    sync.Mutex
	buf   []byte
	timer *time.Timer // runs while something is in buf
}

// Write implements [io.Writer], for whole lines. It never fails.
func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.buf)+len(p) > gatherMost {
		g.write()
	}
	if len(g.buf) == 0 {
		if g.timer == nil {
			g.timer = time.AfterFunc(gatherFor, g.flush)
		} else {
			g.timer.Reset(gatherFor)
		}
	}
	g.buf = append(g.buf, p...)
	return len(p), nil
}

func (g *gathered) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.write()
}

// write writes all there is. The caller holds mu.
func (g *gathered) write() {
	if len(g.buf) > 0 {
		g.to.Write(g.buf)
		g.buf = g.buf[:0]
	}
}
