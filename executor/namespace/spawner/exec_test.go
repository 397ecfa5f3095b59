package spawner

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cofferdam/executor"
	"cofferdam/executor/namespace"
)

// A program that stops whatever comes into its environment, before it is what it is to be, holds
// up nobody for longer than he wants to wait. Landlock would keep it from that since ABI 6.
func TestExecThatIsStopped(t *testing.T) {
	e, err := namespace.New(namespace.Options{App: "weak", Executable: []string{"/proc/self/exe", "weak", "landlock"}, Warm: -1})
	if errors.Is(err, executor.ErrUnsupported) {
		t.Skip("needs isolation: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Start(context.Background(), &executor.Spec{
		Name:          "stops",
		Command:       executor.Command{Args: []string{"/bin/sh", "-c", "while :; do kill -STOP -1; done 2> /dev/null"}},
		Mounts:        []executor.Mount{{Kind: executor.MountRuntime}},
		Limits:        executor.Limits{Wall: time.Minute},
		AllowDegraded: []string{"cgroup", "landlock"},
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped := 0
	for range 10 {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		exit, err := p.Exec(ctx, &executor.Command{Args: []string{"/bin/true"}})
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && strings.Contains(exit.Detail, "given up"):
			stopped++
		case err != nil || exit.Code != 0:
			t.Errorf("%+v, %v", exit, err)
		}
	}
	if stopped == 0 {
		t.Error("it has stopped none: this test tests nothing")
	}
	select {
	case <-p.Done():
		t.Errorf("it has ended: %+v", p.Exit())
	default:
	}
	p.Kill(executor.CausePolicy, "")
	<-p.Done()
}
