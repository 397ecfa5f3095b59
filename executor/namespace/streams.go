package namespace

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"cofferdam/executor"
)

// streams are standard input, output and error of a program. Files go over as
// they are; for anything else there is a pipe and a goroutine that copies.
type streams struct {
	files  [3]*os.File
	theirs []*os.File // of files: ours to close once handed over
	ours   []*os.File // our ends of pipes

	limit    int64 // of output copied, not positive for none
	over     func()
	overOnce sync.Once
	count    atomic.Int64
	outputs  sync.WaitGroup
}

// openStreams prepares the streams of cmd. over is called once when the program
// has written more than limit bytes to streams that we copy.
func openStreams(cmd *executor.Command, limit int64, over func()) (*streams, error) {
	s := &streams{limit: limit, over: over}
	fail := func(err error) (*streams, error) {
		s.handedOver()
		for _, f := range s.ours {
			f.Close()
		}
		return nil, fmt.Errorf("open the streams of a program: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	s.theirs = append(s.theirs, null)
	s.files = [3]*os.File{null, null, null}

	switch in := cmd.Stdin.(type) {
	case nil:
	case *os.File:
		s.files[0] = in
	default:
		r, w, err := os.Pipe()
		if err != nil {
			return fail(err)
		}
		s.files[0] = r
		s.theirs, s.ours = append(s.theirs, r), append(s.ours, w)
		go func() {
			// A reader that never ends keeps this goroutine, as in os/exec; a
			// program that ends breaks the pipe.
			io.Copy(w, reader{in})
			w.Close()
		}()
	}
	for n, out := range []interface{ Write([]byte) (int, error) }{cmd.Stdout, cmd.Stderr} {
		switch out := out.(type) {
		case nil:
		case *os.File:
			s.files[1+n] = out
		default:
			if n == 1 && same(cmd.Stdout, cmd.Stderr) {
				s.files[2] = s.files[1] // one pipe keeps their order
				continue
			}
			r, w, err := os.Pipe()
			if err != nil {
				return fail(err)
			}
			s.files[1+n] = w
			s.theirs, s.ours = append(s.theirs, w), append(s.ours, r)
			s.ours = append(s.ours, r)
			s.outputs.Add(1)
			go s.copy(out, r)
		}
	}
	return s, nil
}

// same tells whether two writers are one, as far as they can be compared.
func same(a, b interface{ Write([]byte) (int, error) }) (equal bool) {
	defer func() {
		if recover() != nil {
			equal = false // a type that cannot be compared
		}
	}()
	return a == b
}

type reader struct {
	r interface{ Read([]byte) (int, error) }
}

func (r reader) Read(p []byte) (int, error) { return r.r.Read(p) }

// copy hands on what comes, up to the limit, and then goes on reading so that
// nobody waits for us. A writer that fails ends the handing on, not the program.
func (s *streams) copy(to interface{ Write([]byte) (int, error) }, from *os.File) {
	defer s.outputs.Done()
	defer from.Close()
	buf := make([]byte, 32<<10)
	broken := false
	for {
		n, err := from.Read(buf)
		if n > 0 {
			before := s.count.Add(int64(n)) - int64(n)
			keep := int64(n)
			if s.limit > 0 && before+keep > s.limit {
				keep = max(s.limit-before, 0)
				s.overOnce.Do(s.over)
			}
			if keep > 0 && !broken {
				_, werr := to.Write(buf[:keep])
				broken = werr != nil
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *streams) fds() []int {
	return []int{int(s.files[0].Fd()), int(s.files[1].Fd()), int(s.files[2].Fd())}
}

// handedOver closes the program's ends here.
func (s *streams) handedOver() {
	for _, f := range s.theirs {
		f.Close()
	}
	s.theirs = nil
}

// wait waits until all output has been copied. The program's ends must be
// closed everywhere by then.
func (s *streams) wait() { s.outputs.Wait() }

// waitFor is wait with an end: a process left behind may hold the pipes open.
func (s *streams) waitFor(d time.Duration) {
	done := make(chan struct{})
	go func() { s.outputs.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(d):
		for _, f := range s.ours {
			f.Close()
		}
		<-done
	}
}

// bytes is how much output was copied or dropped.
func (s *streams) bytes() int64 { return s.count.Load() }
