package monitor

import (
	"context"
	"errors"
	"strings"

	"cofferdam/wire"
)

// Spawner starts instances of templates. The monitor has decided that it may.
type Spawner interface {
	// Spawn runs one instance of a template to its end. The error is wire.ErrBusy
	// if too many wait for theirs already; so it is with Line.
	Spawn(ctx context.Context, by wire.Identity, template string, req wire.Spawn) (wire.Exit, error)

	// Line runs one instance of a service that is a program per call, with the
	// request on its standard input, at the labels of flow, and returns its standard
	// output. It calls admit with what [Monitor.AdmitAt] has made of it, before its
	// program runs, and Remove after all.
	Line(ctx context.Context, service, method string, caller wire.Identity, body []byte, flow Flow, admit func(*Env)) ([]byte, error)
}

// spawn is the request for an instance that runs.
type spawn struct{ stop context.CancelFunc }

func (s *spawn) cancel() { s.stop() }

func runSpawn(ctx context.Context, sp Spawner, by wire.Identity, template string, req wire.Spawn) (wire.Code, []byte) {
	exit, err := sp.Spawn(ctx, by, template, req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Deadline, nil
	case errors.Is(err, context.Canceled):
		return wire.Canceled, nil
	case errors.Is(err, wire.ErrBusy):
		return wire.Busy, nil
	case err != nil:
		return wire.Unavailable, nil // the reason is the operator's to read
	}
	body := exit.Append(nil)
	if len(body) > wire.MaxBody {
		return wire.TooLarge, nil
	}
	return wire.OK, body
}

// errorText is what a peer gets to read of an error, which may quote what it
// sent: cut, because an answer must fit a frame.
func errorText(err error) []byte {
	text := err.Error()
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "") + "…"
	}
	return []byte(text)
}

// startSpawn counts an instance against MaxSpawns.
func (e *Env) startSpawn() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.spawns >= MaxSpawns {
		return false
	}
	e.spawns++
	return true
}

func (e *Env) endSpawn() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spawns--
}
