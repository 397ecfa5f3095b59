package supervisor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/numbers"
)

// telemetryName is the service that shows the numbers to others.
const telemetryName = "telemetry"

// NeedsTelemetry tells whether the numbers of the application are shown to anybody but
// the operator.
func NeedsTelemetry(app *manifest.App) bool { return app.Metrics != nil }

// telemetryService is the door as a service like any other. Its program is not this
// executable, but one beside it: see docs/RATIONALE.md.
func telemetryService(door Door) *manifest.Service {
	svc := doorService(telemetryName, door)
	inside := "/app/" + filepath.Base(door.Program)
	svc.Command = []string{inside}
	svc.Files = []manifest.File{{From: door.Program, To: inside}}
	svc.StopGracePeriod = time.Second
	return svc
}

// feedOf lets the door have a feed of numbers, and the socket of the host that it answers
// on: the first and the second descriptor of what starts with spec. The caller closes
// the door's end once that has started.
func (s *Supervisor) feedOf(spec *executor.Spec) (theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "feed"), os.NewFile(uintptr(fds[1]), "feed")
	c, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("feed: %w", err)
	}
	spec.Extra = []*os.File{theirs}
	if s.Metrics != nil {
		spec.Extra = append(spec.Extra, s.Metrics)
	}
	go numbers.ServeFeed(c, s.feed) // until the door has ended
	return theirs, nil
}

// feed is what the door may know.
func (s *Supervisor) feed(want byte) any {
	if want == numbers.WantSnapshot {
		return s.Count()
	}
	return nil
}
