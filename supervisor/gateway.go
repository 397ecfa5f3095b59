package supervisor

import (
	"fmt"
	"os"
	"time"

	"cofferdam/guard"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// doorPath is where a door finds its program, this very executable.
const doorPath = "/app/cofferdam"

// gatewayGrace is how long the gateway may finish what it is at.
const gatewayGrace = 6 * time.Second

// Door is the program of a door: this very executable in another role.
type Door struct {
	Program string   // its path on the host
	Runtime string   // what it needs of the host to run: "host" or nothing
	Env     []string // what it is told, "K=V"
}

// Listening is a socket of the host's that the gateway inherits.
type Listening struct {
	Socket *os.File `json:"-"`
	At     string   `json:"at"`           // host:port
	To     string   `json:"to,omitempty"` // service:port, "" for HTTP, which has routes
}

func (l Listening) String() string {
	if l.To == "" {
		return "http://" + l.At + "/"
	}
	return l.At + " to " + l.To
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

// doorOf is the gateway in the monitor's words.
func doorOf(app *manifest.App) monitor.Door {
	d := monitor.Door{Service: gatewayName, Port: BridgePort}
	if TellsApart(app) {
		d.People = peopleOf(app)
	}
	if app.Gateway != nil {
		for _, door := range app.Gateway.TCP {
			d.Connections += door.Connections
		}
	}
	return d
}

// peopleOf says what people may send and be sent by a route or a door of the gateway, by its number, that leads to a
// service. It is an error if there is none, or the gateway's grant for it was revoked: for other services
// it may still connect there.
func peopleOf(app *manifest.App) func(number int, to, principal string) (guard.Endpoint, error) {
	routes, doors, granted := make(map[int]manifest.Route), make(map[int]string), make(map[string]bool)
	if g := app.Gateway; g != nil {
		for _, r := range g.Routes {
			routes[r.Number] = r
		}
		for _, d := range g.TCP {
			doors[d.Number], _ = d.Port()
		}
	}
	for _, g := range app.GrantsOf(gatewayName) {
		granted[g.To] = granted[g.To] || g.Kind == "http"
	}
	return func(number int, to, principal string) (guard.Endpoint, error) {
		route, known := routes[number]
		switch {
		case known && to != route.To && to != route.Nobody, !known && doors[number] != to:
			return guard.Endpoint{}, fmt.Errorf("there is no route %d to %s", number, to)
		case known && !granted[to]:
			return guard.Endpoint{}, fmt.Errorf("the grant for the route to %s was revoked", to)
		case known:
			return route.Labels(principal)
		case principal != "":
			return guard.Endpoint{}, fmt.Errorf("nobody is told apart at the door to %s", to)
		}
		return guard.Endpoint{}, nil
	}
}

// TellsApart tells whether it makes a difference on whose behalf the gateway
// connects to a service: then it says so on each connection. That does not change while
// the application runs.
func TellsApart(app *manifest.App) bool {
	if app.Gateway != nil && len(app.Gateway.Routes) > 0 {
		return true // for people, or for another service
	}
	for _, svc := range app.Services {
		if svc.HTTP != 0 && (pooled(svc) || labelled(svc)) {
			return true
		}
	}
	return false
}

// labelled tells whether what svc hears or says over HTTP has a label.
func labelled(svc *manifest.Service) bool {
	return svc.Label != (manifest.Label{}) || svc.PortLabels[svc.HTTP] != (manifest.Endpoint{})
}

// gatewayService is the gateway as a service like any other. It is ready when
// its bridge listens, which it opens after the host's socket; it depends on
// nobody, for a service that is not ready yet is waited for, per connection.
func gatewayService(door Door) *manifest.Service {
	svc := doorService(gatewayName, door)
	svc.TCP = []int{BridgePort}
	svc.StopGracePeriod = gatewayGrace
	return svc
}

// doorService is what the doors have in common. Each is this executable in a role
// of the door's name.
func doorService(name string, d Door) *manifest.Service {
	return &manifest.Service{
		Name:        name,
		Runtime:     d.Runtime,
		Command:     []string{doorPath, name},
		Environment: d.Env,
		WorkingDir:  "/",
		Files:       []manifest.File{{From: d.Program, To: doorPath}},
		Instances:   "shared",
		Limits:      doorLimits(),
		Restart: manifest.Restart{
			Policy:     "always",
			Intensity:  5,
			Period:     time.Minute,
			Backoff:    100 * time.Millisecond,
			BackoffMax: 10 * time.Second,
		},
	}
}

// doorLimits are those of a door's own environment.
func doorLimits() manifest.Limits {
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
