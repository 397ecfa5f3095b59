package supervisor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
	"cofferdam/numbers"
)

// telemetryName is the service that shows the numbers to others.
const telemetryName = "telemetry"

// SpansCall is how the gateway, which alone sees requests over HTTP, hands over the spans
// of those.
const (
	spansMethod = "spans"
	SpansCall   = telemetryName + "." + spansMethod
)

// PublicOverHTTP are the services of which nothing is secret that they say or hear over
// HTTP, whatever becomes of them.
func PublicOverHTTP(app *manifest.App) (names []string) {
	for _, s := range app.Services {
		if !labelled(s) && s.Clearance == (manifest.Label{}) && s.Instances != "per-label" {
			names = append(names, s.Name)
		}
	}
	return names
}

// NeedsTelemetry tells whether the numbers of the application are shown to anybody but
// the operator.
func NeedsTelemetry(app *manifest.App) bool { return app.Metrics != nil || app.Traces != nil }

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

// TracesAddress is where the door finds who takes its spans, inside.
func TracesAddress(app *manifest.App) netip.AddrPort {
	return netip.AddrPortFrom(loopback(0), app.Traces.To.Port)
}

// telemetryGrants let the door reach who takes spans, whatever address that has: the operator has
// named it.
func telemetryGrants(app *manifest.App) []monitor.Grant {
	if app.Traces == nil {
		return nil
	}
	return []monitor.Grant{{
		From: telemetryName, Kind: monitor.KindEgress, To: app.Traces.To.String(), Private: true,
		Rates: monitor.Rates{Bytes: monitor.Rate{Amount: monitor.Unlimited}, Connections: monitor.Rate{Amount: monitor.Unlimited}},
		Rule:  "traces.otlp",
	}}
}

// telemetryReach is what the door may connect to.
func telemetryReach(app *manifest.App) (r reach) {
	if app.Traces != nil {
		r.ports = []reachable{{out: app.Traces.To.String(), at: TracesAddress(app)}}
	}
	return r
}

// feed is what the door may know.
func (s *Supervisor) feed(want byte) any {
	switch want {
	case numbers.WantSnapshot:
		return s.Count()
	case numbers.WantSpans:
		return s.monitor.Spans(numbers.MaxSpans)
	}
	return nil
}
