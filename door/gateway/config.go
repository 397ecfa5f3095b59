package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ConfigEnv is the environment variable that holds a [Config] in JSON.
const ConfigEnv = "COFFERDAM_GATEWAY"

// Config is everything the gateway is told. It holds nothing secret.
type Config struct {
	// Outside says that descriptor 3 is a listening socket, for people.
	Outside bool `json:"outside,omitempty"`

	// Routes from outside; the first match wins.
	Routes []Route `json:"routes"`

	// Services are all that speak HTTP, with their port. Routes and the bridge
	// lead to these and to nothing else.
	Services map[string]int `json:"services"`

	// Says is whether it makes a difference on whose behalf the gateway connects to a
	// service: then each of its connections begins with a line that says so.
	Says bool `json:"says,omitempty"`

	// Authenticate is who tells which principal a request from outside comes from;
	// nil if nobody is told apart.
	Authenticate *Authenticate `json:"authenticate,omitempty"`

	// Each is whether connections for a principal are counted one by one: then each of his requests has
	// one of its own, and is counted.
	Each bool `json:"each,omitempty"`

	// Bridge is the port on 127.0.0.1, inside the gateway's environment, where
	// the monitor brings HTTP between services. 0 is none.
	Bridge int `json:"bridge,omitempty"`

	Limits Limits `json:"limits"`

	// Traces is nil if no requests are traced.
	Traces *Traces `json:"traces,omitempty"`

	// TCP are the doors for what is not HTTP. Their listening sockets are the descriptors
	// after that of Outside, in this order.
	TCP []TCP `json:"tcp,omitempty"`
}

// Route sends paths to a service.
type Route struct {
	Number int    `json:"number,omitempty"` // by which the monitor knows it
	Path   string `json:"path"`             // RE2, matched against the whole decoded path
	To     string `json:"to"`               // a key of Services

	// Nobody is where who is not recognised goes, a key of Services; "" for To.
	Nobody string `json:"nobody,omitempty"`

	Asks   bool `json:"asks,omitempty"`   // Authenticate is asked who sends what comes here
	Needs  bool `json:"needs,omitempty"`  // and there is nothing here for nobody
	Secret bool `json:"secret,omitempty"` // what is answered is not for everybody: browsers keep it to themselves

	// Session is whether To may see the cookie that Authenticate is shown, and set it:
	// whoever has it is its owner. Nobody may, who has no session yet.
	Session bool `json:"session,omitempty"`

	Rate Rate `json:"rate,omitzero"` // of requests by each principal, and by each address that is nobody's

	// WebSocket is whether a request may become a web socket, if what is answered is for everybody.
	WebSocket bool `json:"websocket,omitempty"`

	SecretNobody bool `json:"secret_nobody,omitempty"` // the same of what Nobody answers
}

// Limits bounds what a client can do. A zero field is its default.
type Limits struct {
	HeaderBytes int   `json:"header_bytes,omitempty"` // of the fields of a head, default 16 KiB; its first line may have 4 KiB more
	BodyBytes   int64 `json:"body_bytes,omitempty"`   // default 1 MiB
	TimeoutMS   int64 `json:"timeout_ms,omitempty"`   // for a request to come and its answer to begin, and then between two pieces of that; default 60 s
	StreamMS    int64 `json:"stream_ms,omitempty"`    // for an answer, from its beginning; default 1 h
	AnswerMS    int64 `json:"answer_ms,omitempty"`    // from the end of a request to the beginning of its answer; 0 for no limit but timeout
	IdleMS      int64 `json:"idle_ms,omitempty"`      // over which nothing comes on a web socket, default 10 min
	Connections int   `json:"connections,omitempty"`  // default 512, for each of the two listeners

	PerPeer      int  `json:"per_peer,omitempty"`      // of them from one address, or from one service; default half of them
	PerPrincipal int  `json:"per_principal,omitempty"` // requests at a time of one principal; default a quarter of them
	Rate         Rate `json:"rate,omitzero"`           // of requests from one address, before anybody is asked who it is
}

func (l Limits) timeout() time.Duration { return time.Duration(l.TimeoutMS) * time.Millisecond }

func (l Limits) stream() time.Duration { return time.Duration(l.StreamMS) * time.Millisecond }

func (l Limits) answer() time.Duration { return time.Duration(l.AnswerMS) * time.Millisecond }

func (l Limits) idle() time.Duration { return time.Duration(l.IdleMS) * time.Millisecond }

func (l Limits) withDefaults() Limits {
	if l.HeaderBytes == 0 {
		l.HeaderBytes = 16 << 10
	}
	if l.BodyBytes == 0 {
		l.BodyBytes = 1 << 20
	}
	if l.TimeoutMS == 0 {
		l.TimeoutMS = 60_000
	}
	if l.StreamMS == 0 {
		l.StreamMS = 3_600_000
	}
	if l.Connections == 0 {
		l.Connections = 512
	}
	if l.IdleMS == 0 {
		l.IdleMS = 600_000
	}
	if l.PerPeer == 0 {
		l.PerPeer = max(l.Connections/2, 1)
	}
	if l.PerPrincipal == 0 {
		l.PerPrincipal = max(l.Connections/4, 1)
	}
	return l
}

// ParseConfig reads a Config. Unknown keys are errors.
func ParseConfig(b []byte) (Config, error) {
	if len(b) == 0 {
		return Config{}, errors.New("empty")
	}
	var c Config
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("something follows the configuration")
	}
	return c, nil
}

func (c Config) check() error {
	for name, port := range c.Services {
		if !isName(name) || name == callerOutside {
			return fmt.Errorf("service %q: not a name for a service", name)
		}
		if port < 1 || port > 65535 {
			return fmt.Errorf("service %q: port %d: not from 1 to 65535", name, port)
		}
	}
	for _, r := range c.Routes {
		if c.Services[r.To] == 0 {
			return fmt.Errorf("route %q: no service %q speaks HTTP", r.Path, r.To)
		}
		if r.Nobody != "" && (c.Services[r.Nobody] == 0 || !r.Asks) {
			return fmt.Errorf("route %q: no service %q for who is not recognised, or nobody is", r.Path, r.Nobody)
		}
	}
	for _, r := range c.Routes {
		if !r.Rate.ok() {
			return fmt.Errorf("route %q: rate %+v: not positive", r.Path, r.Rate)
		}
		if r.Asks && (c.Authenticate == nil || !c.Says) || r.Needs && !r.Asks {
			return fmt.Errorf("route %q: there is nobody to ask who it is", r.Path)
		}
	}
	if a := c.Authenticate; a != nil {
		service, method, _ := strings.Cut(a.Call, ".")
		if !isName(service) || !isName(method) || a.Cookie == "" {
			return fmt.Errorf("authenticate %+v: not a method and a cookie", *a)
		}
		if a.Login != "" && (ambiguous(a.Login) || strings.ContainsAny(a.Login, "?#\\") || strings.HasPrefix(a.Login, "//")) {
			return fmt.Errorf("authenticate: login %q: not a path", a.Login)
		}
	}
	for _, d := range c.TCP {
		if !isName(d.To) || d.To == callerOutside || d.Port < 1 || d.Port > 65535 {
			return fmt.Errorf("tcp to %q: port %d: not a service and its port", d.To, d.Port)
		}
		if d.Connections < 0 || d.PerPeer < 0 || d.IdleMS < 0 || d.IdleMS > int64(1<<53)/1_000_000 {
			return fmt.Errorf("tcp to %q: %+v: negative, or too long", d.To, d)
		}
	}
	if c.Bridge < 0 || c.Bridge > 65535 {
		return fmt.Errorf("bridge: port %d: not from 1 to 65535", c.Bridge)
	}
	l := c.Limits
	if l.HeaderBytes < 0 || l.BodyBytes < 0 || l.TimeoutMS < 0 || l.StreamMS < 0 || l.AnswerMS < 0 || l.IdleMS < 0 || l.TimeoutMS > int64(time.Hour/time.Millisecond) || l.Connections < 0 || l.PerPeer < 0 || l.PerPrincipal < 0 || !l.Rate.ok() {
		return fmt.Errorf("limits %+v: negative, or a timeout over an hour", l)
	}
	return nil
}

// isName tells whether s can be the name of a service: [a-z0-9_-]{1,32}.
func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 32
}
