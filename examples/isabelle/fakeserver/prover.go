package fakeserver

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed prover.sml
var proverML string

var (
	errInterrupted = errors.New("Interrupt")
	errProverGone  = errors.New("prover process terminated")
)

// interruptTime is how long the prover has for giving up what is interrupted. What
// has not by then goes on, as in the original, until the session ends.
const interruptTime = time.Second

// prover is the process of a session that runs ML. It believes nothing that the
// process says but where it says so in the right form, which does not help
// against what the process may do itself.
type prover struct {
	cmd  *exec.Cmd
	in   *os.File
	born chan struct{} // closed when it listens
	dead chan struct{} // closed at its end

	mu      sync.Mutex
	next    int
	running map[int]*evaluation
}

// evaluation is a text of ML that is evaluated.
type evaluation struct {
	tell func(said)
	done chan string // how it ended
}

// said is what ML says. Start and end are offsets in its text, -1 where nobody knows.
type said struct {
	kind       string // value, writeln, tracing, warning, error, export
	text       string
	start, end int
}

// startProver starts the process in a directory, with the environment given.
func startProver(poly, dir string, environment []string) (*prover, error) {
	script, err := os.CreateTemp(dir, "prover*.sml")
	if err != nil {
		return nil, err
	}
	defer script.Close()
	if _, err := script.WriteString(proverML); err != nil {
		return nil, err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer theirOut.Close()
	p := &prover{in: in, born: make(chan struct{}), dead: make(chan struct{}), running: make(map[int]*evaluation)}
	p.cmd = exec.Command(poly, "-q", "--gcthreads=1", "--use", script.Name())
	p.cmd.Dir, p.cmd.Env, p.cmd.ExtraFiles = dir, environment, []*os.File{theirIn, theirOut}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that what it starts ends with it
	if err := p.cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		p.listen(out)
	}()
	go func() {
		p.cmd.Wait()
		out.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // a program that it left may hold the other end
		<-heard
		out.Close()
		close(p.dead)
	}()
	return p, nil
}

// ready waits until the process listens.
func (p *prover) ready(ctx context.Context) error {
	select {
	case <-p.born:
		return nil
	case <-p.dead:
		return errProverGone
	case <-ctx.Done():
		return errInterrupted
	}
}

// listen hands on what the prover says, until it ends or talks nonsense.
func (p *prover) listen(out *os.File) {
	lines := bufio.NewReaderSize(out, 1<<16)
	for p.hear(lines) == nil {
	}
	p.kill()
}

func (p *prover) hear(lines *bufio.Reader) error {
	head, err := lines.ReadSlice('\n')
	if err != nil {
		return err
	}
	f := strings.Fields(strings.ReplaceAll(string(head), "~", "-"))
	if len(f) != 6 {
		return fmt.Errorf("prover said %.40q", head)
	}
	var n [5]int
	for i := range n {
		if n[i], err = strconv.Atoi(f[i+1]); err != nil {
			return err
		}
	}
	var body strings.Builder
	if _, err := io.CopyN(&body, lines, int64(n[4])); err != nil {
		return err
	}
	if f[0] == "ready" {
		select {
		case <-p.born:
		default:
			close(p.born)
		}
		return nil
	}
	p.mu.Lock()
	e := p.running[n[0]]
	if f[0] == "done" {
		delete(p.running, n[0])
	}
	p.mu.Unlock()
	switch {
	case e == nil: // of nobody, or given up
	case f[0] == "done":
		e.done <- body.String()
	default:
		e.tell(said{f[0], body.String(), n[2], n[3]})
	}
	return nil
}

// eval evaluates text and calls tell with what it says, never after it has
// returned. A failure has been told as an error.
func (p *prover) eval(ctx context.Context, theory string, line int, text string, tell func(said)) error {
	var mu sync.Mutex
	e := &evaluation{done: make(chan string, 1)}
	over := false
	e.tell = func(s said) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			tell(s)
		}
	}
	defer func() {
		mu.Lock()
		over = true
		mu.Unlock()
	}()
	p.mu.Lock()
	p.next++
	id := p.next
	p.running[id] = e
	_, err := fmt.Fprintf(p.in, "eval %d %d %s %d\n%s", id, line, theory, len(text), text)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.running, id)
		p.mu.Unlock()
	}()
	if err != nil {
		return errProverGone
	}
	select {
	case how := <-e.done:
		if how == "interrupted" {
			return errInterrupted
		}
		return nil
	case <-p.dead:
		return errProverGone
	case <-ctx.Done():
	}
	p.mu.Lock()
	fmt.Fprintf(p.in, "stop %d\n", id)
	p.mu.Unlock()
	select {
	case <-e.done:
	case <-p.dead:
	case <-time.After(interruptTime):
	}
	return errInterrupted
}

// stop ends the process and all that is left of what it started, and returns its code.
func (p *prover) stop() int {
	alive := true
	select {
	case <-p.dead:
		alive = false
	default:
		p.in.Close() // which it takes for the end
		select {
		case <-p.dead:
		case <-time.After(interruptTime):
		}
	}
	p.kill()
	<-p.dead
	if alive {
		return 0
	}
	p.in.Close()
	if code := p.cmd.ProcessState.ExitCode(); code > 0 {
		return code
	}
	return 1
}

// kill is of the whole group: a shell that ML has started is in it.
func (p *prover) kill() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
