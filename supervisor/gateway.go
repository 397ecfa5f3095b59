package supervisor

import (
	"debug/elf"
	"time"

	"cofferdam/manifest"
)

// gatewayPath is where the gateway finds its program, this very executable.
const gatewayPath = "/app/cofferdam"

// gatewayGrace is how long the gateway may finish what it is at.
const gatewayGrace = 6 * time.Second

// NeedsDoor tells whether anything in the application speaks HTTP across a
// border: people through the gateway, or services to each other.
func NeedsDoor(app *manifest.App) bool {
	if app.Gateway != nil {
		return true
	}
	for _, g := range app.Grants() {
		if g.Kind == "http" {
			return true
		}
	}
	return false
}

// gatewayService is the gateway as a service like any other. It is ready when
// its bridge listens, which it opens after the host's socket; it depends on
// nobody, for a service that is not ready yet is waited for, per connection.
func (s *Supervisor) gatewayService() *manifest.Service {
	return &manifest.Service{
		Name:            gatewayName,
		Runtime:         runtimeFor(s.Self),
		Command:         []string{gatewayPath, "gateway"},
		Environment:     s.Door,
		WorkingDir:      "/",
		Files:           []manifest.File{{From: s.Self, To: gatewayPath}},
		TCP:             []int{BridgePort},
		Instances:       "shared",
		Limits:          gatewayLimits(),
		StopGracePeriod: gatewayGrace,
		Restart: manifest.Restart{
			Policy:     "always",
			Intensity:  5,
			Period:     time.Minute,
			Backoff:    100 * time.Millisecond,
			BackoffMax: 10 * time.Second,
		},
	}
}

// runtimeFor is the runtime that the program at path needs: the host's if it was
// linked dynamically, as `go build` with a C compiler at hand does, and none
// otherwise.
func runtimeFor(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return "" // its start will say what is wrong with it
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "host"
		}
	}
	return ""
}

// gatewayLimits are those of the gateway's own environment.
func gatewayLimits() manifest.Limits {
	return manifest.Limits{
		Memory:   128 << 20,
		Pids:     64,
		CPUs:     2,
		CPU:      manifest.Unlimited,
		Wall:     manifest.Unlimited,
		Output:   manifest.Unlimited,
		Files:    4096,
		FileSize: 1 << 20,
		Tmp:      1 << 20,
	}
}
