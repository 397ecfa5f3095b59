package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"
)

// Requests whose instance ends.
//
// A request is held, and its client waits, for as long as nobody answers and it may be
// sent again: always if not a byte of it has reached an instance, which the monitor
// says; once, if it is safe (RFC 9110 section 9.2.1) and its instance ended before it
// began to answer. Any other is answered for by a page that says whether it may have been done.

const (
	// maxKept is the longest body that is read whole before an instance is looked for,
	// and kept until there is an answer.
	maxKept = 64 << 10

	// The pause between two attempts to find an instance.
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second

	// headerUnreached is in the answer that the monitor gives for an instance which
	// it has not found in time: nothing of the request has reached one.
	headerUnreached = "Cofferdam-Unreached"
)

var (
	// errNobody: no instance was found; nothing was done.
	errNobody = errors.New("no instance was found")

	// errSilent: the answer has not begun in time; it may have been done.
	errSilent = errors.New("no answer within the time for one")

	// errLost: the instance that was at it ended; it may have been done.
	errLost = errors.New("the instance that was at it has ended")
)

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	r = r.WithContext(unannounced{ctx})
	body, err := keep(r)
	if err != nil {
		return nil, err
	}
	lost := false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if body != nil {
			r.Body = body()
		}
		res, reached, err := t.try(r)
		switch {
		case err == nil && reached:
			return res, nil
		case ctx.Err() != nil && reached:
			return nil, err
		case reached && !errors.Is(err, errLost):
			return nil, err
		case reached && (lost || body == nil || !safe(r.Method)):
			return nil, err
		case reached:
			lost = true // and at once the next one, who may be there already
			continue
		case body == nil:
			return nil, errNobody
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if lost {
				return nil, fmt.Errorf("%w, and no other was found in time", errLost)
			}
			return nil, errNobody
		}
	}
}

// try sends r once. It tells whether anything of it may have reached an instance; the error is
// an errLost if that ended without a word.
func (t *transport) try(r *http.Request) (res *http.Response, reached bool, err error) {
	var answered, silent atomic.Bool
	var timer atomic.Pointer[time.Timer]
	var conn net.Conn
	ctx, giveUp := context.WithCancel(r.Context())
	out := r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			c, ok := conn.(*net.TCPConn)
			if t.answer == 0 || info.Err != nil || !ok {
				return
			}
			timer.Store(time.AfterFunc(t.answer, func() {
				if answered.Load() || ctx.Err() != nil {
					return
				}
				silent.Store(true)
				c.SetLinger(0) // the monitor sees by the reset that all was sent, and nothing came
				giveUp()
			}))
			if answered.Load() {
				timer.Load().Stop()
			}
		},
		GotFirstResponseByte: func() {
			answered.Store(true)
			if running := timer.Load(); running != nil {
				running.Stop()
			}
		},
	}))
	res, err = t.Transport.RoundTrip(out)
	if err != nil {
		defer giveUp()
	} else {
		res.Body = &ending{res.Body, giveUp}
	}
	switch {
	case err != nil && silent.Load():
		return nil, true, errSilent
	case err == nil && res.Header.Get(headerUnreached) != "":
		res.Body.Close()
		return nil, false, errNobody
	case err == nil:
		return res, true, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, false, err
	case !answered.Load() && r.Context().Err() == nil && exchangeOf(r).body.failure() == nil:
		return nil, true, fmt.Errorf("%w: %v", errLost, err)
	}
	return nil, true, err
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// keep reads the body of r if it is short, and returns what it is each time that r is
// sent; nil if it can be sent only once.
func keep(r *http.Request) (body func() io.ReadCloser, err error) {
	if r.Body == nil || r.Body == http.NoBody {
		return func() io.ReadCloser { return http.NoBody }, nil
	}
	if r.ContentLength > maxKept {
		return nil, nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxKept+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxKept {
		r.Body = &begun{io.MultiReader(bytes.NewReader(b), r.Body), r.Body}
		return nil, nil
	}
	if len(b) == 0 {
		return func() io.ReadCloser { return http.NoBody }, nil
	}
	return func() io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }, nil
}

// ending is a body at whose end something is called.
type ending struct {
	io.ReadCloser
	end func()
}

func (b *ending) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// begun is a body of which some has been read.
type begun struct {
	io.Reader
	io.Closer
}
