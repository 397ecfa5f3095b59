package supervisor

import (
	"time"

	"cofferdam/manifest"
)

// gatewayPath is where the gateway finds its program, this very executable.
const gatewayPath = "/app/cofferdam"

// gatewayGrace is how long the gateway may finish what it is at.
const gatewayGrace = 6 * time.Second

// Door is the program of the gateway: this very executable in another role.
type Door struct {
	Program string   // its path on the host
	Runtime string   // what it needs of the host to run: "host" or nothing
	Env     []string // what it is told, "K=V"
}

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
func gatewayService(door Door) *manifest.Service {
	return &manifest.Service{
		Name:            gatewayName,
		Runtime:         door.Runtime,
		Command:         []string{gatewayPath, "gateway"},
		Environment:     door.Env,
		WorkingDir:      "/",
		Files:           []manifest.File{{From: door.Program, To: gatewayPath}},
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
