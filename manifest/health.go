package manifest

import (
	"regexp"
	"time"

	"go.yaml.in/yaml/v4"
)

// Health is how an instance is asked whether it is well. Exactly one of Exec, HTTP and
// Call is set.
type Health struct {
	Exec []string // a program inside, which has to end with 0
	HTTP string   // a path at the service's http port, which has to answer 2xx or 3xx
	Call string   // a method of its own, which has to answer without an error

	Interval      time.Duration // between two checks, default 30 s
	Timeout       time.Duration // of one, default 5 s
	Retries       int           // that fail in a row until it is unhealthy, default 3
	StartPeriod   time.Duration // in which what fails does not count, until one has succeeded; default none
	StartInterval time.Duration // Interval until one has succeeded, default 1 s
}

// What happens to an instance that is unhealthy or does not respond.
const (
	Replace = "replace" // it is killed, and restarted by the service's policy
	Stop    = "stop"    // it is stopped, and not restarted
	Ignore  = "ignore"  // it is shown and recorded, and goes on
)

// maxChecking bounds the program, or the path, of a health check.
const maxChecking = 256

var healthPaths = regexp.MustCompile(`^/[!-~]{0,255}$`)

func healthKeys() table[Health] {
	return table[Health]{keys: []key[Health]{
		{"exec", aCommand, false, "", "A program that is run inside, with what the instance may do and within its limits. It has to end with 0.", func(r *reader, v value, h *Health) {
			var s Service
			readCommand(r, v, &s)
			if len(s.Command) > maxChecking {
				r.refuse(v, "", "more than %d arguments", maxChecking)
			}
			h.Exec = s.Command
		}},
		{"http", aRequestPath, false, "", "A path that is asked for with GET at the http port of the service. It has to answer with a status from 200 to 399.", func(r *reader, v value, h *Health) {
			h.HTTP, _ = r.name(v, aRequestPath, healthPaths)
		}},
		{"call", aName, false, "", "A method that the service provides, which is called by monitor with an empty body. It has to answer without an error.", func(r *reader, v value, h *Health) {
			h.Call, _ = r.name(v, aName, serviceNames)
		}},
		{"interval", aTime, false, "30s", "Time between the end of a check and the next one.", func(r *reader, v value, h *Health) {
			h.Interval = r.duration(v, aTime, maxDuration)
		}},
		{"timeout", aTime, false, "5s", "A check that takes longer has failed.", func(r *reader, v value, h *Health) {
			h.Timeout = r.duration(v, aTime, maxDeadline)
		}},
		{"retries", aCount, false, "3", "So many that fail in a row, and it is unhealthy.", func(r *reader, v value, h *Health) {
			h.Retries = r.integer(v, aCount, 1, 1000)
		}},
		{"start_period", aTime, false, "none", "Time from its start in which those that fail do not count, as long as none has succeeded.", func(r *reader, v value, h *Health) {
			h.StartPeriod = r.duration(v, aTime, maxDuration)
		}},
		{"start_interval", aTime, false, "1s, or interval if that is less", "The interval as long as none has succeeded. The first check comes at once.", func(r *reader, v value, h *Health) {
			h.StartInterval = r.duration(v, aTime, maxDuration)
		}},
	}, refused: []refusal{
		{"test", "one word says what is asked", "write exec: [CMD, …], http: /path or call: METHOD; for a shell, exec: [/bin/sh, -c, the text]"},
		{"disable", "nothing is checked that was not asked for", "leave healthcheck out"},
	}}
}

func readHealth(r *reader, v value, s *Service) {
	h := new(Health)
	whole := mapping(r, v, aHealth, healthKeys(), h)
	given := 0
	for _, one := range []bool{h.Exec != nil, h.HTTP != "", h.Call != ""} {
		if one {
			given++
		}
	}
	if whole && given != 1 {
		r.refuse(v, "write one of exec: [CMD, …], http: /path and call: METHOD", "%d ways to check; want one", given)
	}
	s.Health = h
}

// checkHealth holds the check against what the service has.
func (r *reader) checkHealth(v value, s *Service) {
	h := s.Health
	if h == nil {
		return
	}
	if h.HTTP != "" && s.HTTP == 0 {
		r.refuse(v, "write http: PORT at the service", "%s has no http port", s.Name)
	}
	if h.Call != "" && s.provide(h.Call) == nil {
		r.refuse(v, "write provides: [{call: "+h.Call+", from: []}], which nobody else may call", "%s provides no %q", s.Name, h.Call)
	}
}

func (h *Health) node() *yaml.Node {
	if h == nil {
		return nil
	}
	var o object
	o.add("exec", sequence(h.Exec, text))
	o.add("http", someText(h.HTTP))
	o.add("call", someText(h.Call))
	o.add("interval", text(formatDuration(h.Interval)))
	o.add("timeout", text(formatDuration(h.Timeout)))
	o.add("retries", count(h.Retries))
	if h.StartPeriod > 0 {
		o.add("start_period", text(formatDuration(h.StartPeriod)))
	}
	o.add("start_interval", text(formatDuration(h.StartInterval)))
	return o.done()
}

func (h *Health) fillDefaults() {
	orElse(&h.Interval, 30*time.Second)
	orElse(&h.Timeout, 5*time.Second)
	orElse(&h.Retries, 3)
	orElse(&h.StartInterval, min(time.Second, h.Interval))
}
