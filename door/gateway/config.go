package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	// Bridge is the port on 127.0.0.1, inside the gateway's environment, where
	// the monitor brings HTTP between services. 0 is none.
	Bridge int `json:"bridge,omitempty"`

	Limits Limits `json:"limits"`
}

// Route sends paths to a service.
type Route struct {
	Path string `json:"path"` // RE2, matched against the whole decoded path
	To   string `json:"to"`   // a key of Services
}

// Limits bounds what a client can do. A zero field is its default.
type Limits struct {
	HeaderBytes int   `json:"header_bytes,omitempty"` // default 16 KiB; net/http allows 4 KiB on top
	BodyBytes   int64 `json:"body_bytes,omitempty"`   // default 1 MiB
	TimeoutMS   int64 `json:"timeout_ms,omitempty"`   // of a whole request, default 60 s
	Connections int   `json:"connections,omitempty"`  // default 512, for each of the two listeners
}

func (l Limits) timeout() time.Duration { return time.Duration(l.TimeoutMS) * time.Millisecond }

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
	if l.Connections == 0 {
		l.Connections = 512
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
	}
	if c.Bridge < 0 || c.Bridge > 65535 {
		return fmt.Errorf("bridge: port %d: not from 1 to 65535", c.Bridge)
	}
	l := c.Limits
	if l.HeaderBytes < 0 || l.BodyBytes < 0 || l.TimeoutMS < 0 || l.TimeoutMS > int64(time.Hour/time.Millisecond) || l.Connections < 0 {
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
