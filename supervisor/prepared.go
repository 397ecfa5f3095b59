package supervisor

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// preparations have environments wait for programs that are started with what only their caller
// knows: of templates, and of programs per call. What waits is nobody's, runs nothing and has no name;
// it is the executor's alone. So it takes no place and nothing of the budget, but for a little
// memory. Which those are is looked at anew whenever the lineup changes.
type preparations struct {
	changed chan struct{}            // has one if it is to be looked
	by      map[string]preparedShape // by service; of the goroutine that keeps it

	mu    sync.Mutex
	told  map[string]string        // guarded by mu, by service: what an operator is told of it
	ahead map[string]*interpreters // guarded by mu, by service
}

// preparedShape is what was asked of the executor.
type preparedShape struct {
	spec *executor.Spec
	text string
	n    int
	kind string // what waits, for an operator
}

func newPreparations() preparations {
	return preparations{changed: make(chan struct{}, 1), by: make(map[string]preparedShape), told: make(map[string]string), ahead: make(map[string]*interpreters)}
}

// prepares tells whether environments of svc wait, rather than instances.
func prepares(svc *manifest.Service) bool { return svc.Warm > 0 && (svc.Template || svc.Stdio != "") }

// ahead is how many environments of svc are to wait, or whether an interpreter is, for forks.
func ahead(svc *manifest.Service) int {
	switch {
	case svc.Fork != nil:
		return svc.Fork.Spares
	case prepares(svc):
		return svc.Warm
	}
	return 0
}

// look has what waits be what the lineup says.
func (p *preparations) look() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// tell has an operator told of what waits of a service.
func (p *preparations) tell(service, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told[service] = text
}

// forget drops what is told of services of which nothing is to wait any more.
func (p *preparations) forget(wanted map[string]preparedShape) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.told, func(name, _ string) bool {
		_, still := wanted[name]
		return !still && p.ahead[name] == nil
	})
}

// giveWay has an interpreter that waits end, if there is one.
func (p *preparations) giveWay() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.ahead {
		if k.giveWay() {
			return true
		}
	}
	return false
}

// keepAhead has interpreters wait of those services of the lineup that say so.
func (p *preparations) keepAhead(ctx context.Context, s *Supervisor) {
	wanted := make(map[string]*interpreters)
	for _, svc := range s.now().app.Services {
		if svc.Ahead == nil {
			continue
		}
		spec, err := s.shapeOf(svc)
		if err != nil {
			s.Logger.Error("prepare", "service", svc.Name, "error", err)
			continue
		}
		wanted[svc.Name] = &interpreters{svc: svc, spec: spec, text: shapeText(spec)}
	}
	p.mu.Lock()
	old := maps.Clone(p.ahead)
	p.mu.Unlock()
	for name, k := range old {
		if now := wanted[name]; now == nil || now.text != k.text || now.svc.Ahead.Spares != k.svc.Ahead.Spares || costOf(now.svc) != costOf(k.svc) {
			k.end()
			delete(old, name)
		}
	}
	for name, now := range wanted {
		if old[name] == nil {
			old[name] = s.keepAhead(ctx, now.svc, now.spec, now.text)
		}
	}
	p.mu.Lock()
	p.ahead = old
	p.mu.Unlock()
}

// waits says what is told of a service, for which n are to wait.
func waits(svc *manifest.Service, n int) string {
	if svc.Fork != nil {
		if n == 1 {
			return "an interpreter waits, and 1 fork of it"
		}
		return fmt.Sprintf("an interpreter waits, and %d forks of it", n)
	}
	return wait(n, "environment") + " for a program"
}

// wait is a sentence.
func wait(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " waits"
	}
	return fmt.Sprintf("%d %ss wait", n, noun)
}

// status is a line for each service of which something waits, or should.
func (p *preparations) status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Status
	for _, name := range slices.Sorted(maps.Keys(p.told)) {
		out = append(out, Status{Service: name, State: Prepared, Detail: p.told[name]})
	}
	return out
}

// keepPrepared looks after that until ctx ends. They end with the executor.
func (s *Supervisor) keepPrepared(ctx context.Context) {
	p := &s.preparations
	for p.look(); ; {
		select {
		case <-p.changed:
		case <-ctx.Done():
			p.mu.Lock()
			ahead := maps.Clone(p.ahead)
			p.mu.Unlock()
			for _, k := range ahead {
				k.end()
			}
			return
		}
		p.keepAhead(ctx, s)
		wanted := make(map[string]preparedShape)
		for _, svc := range s.now().app.Services {
			if n := ahead(svc); n > 0 {
				spec, err := s.shapeOf(svc)
				if err != nil {
					s.Logger.Error("prepare", "service", svc.Name, "error", err)
					continue
				}
				wanted[svc.Name] = preparedShape{spec, shapeText(spec), n, waits(svc, n)}
			}
		}
		forks := false // an interpreter has gone, which another service may have shared
		for name, old := range p.by {
			if now, still := wanted[name]; !still || now.text != old.text {
				s.Executor.Prepare(ctx, old.spec, 0)
				delete(p.by, name)
				forks = forks || old.spec.Fork != nil
			}
		}
		p.forget(wanted)
		for name, now := range wanted {
			if old, have := p.by[name]; have && old.n == now.n && !(forks && now.spec.Fork != nil) {
				continue
			}
			// What cannot be prepared is started as it was before.
			if err := s.Executor.Prepare(ctx, now.spec, now.n); err != nil && ctx.Err() == nil {
				s.Logger.Error("prepare", "service", name, "error", err)
				delete(p.by, name)
				p.tell(name, "nothing waits: "+err.Error())
				continue
			}
			p.by[name] = now
			p.tell(name, now.kind)
		}
	}
}

// shapeOf is an environment like those of svc, with nobody's names.
func (s *Supervisor) shapeOf(svc *manifest.Service) (*executor.Spec, error) {
	nobody := &instance{s: s, svc: svc, name: svc.Name, path: filepath.Join(s.socketsDir(), "nobody")}
	var volumes []volume
	for _, v := range svc.Volumes {
		volumes = append(volumes, volume{v, monitor.Volume{Name: "nobody", Writable: !v.ReadOnly}})
	}
	spec, err := s.specOf(svc, nobody, launch{stdout: io.Discard, stderr: io.Discard}, s.now().reachOf(svc.Name), volumes)
	if err != nil {
		return nil, err
	}
	spec.Command.Stdout, spec.Command.Stderr = nil, nil
	spec.Name = waitsUnder(svc.Name)
	return spec, nil
}

// waitsUnder is the name under which the executor has something wait for a service. A host name has no underscores, and
// those of a_b and a-b must be two: no service's begins with a digit.
func waitsUnder(service string) string {
	if !strings.Contains(service, "_") {
		return service
	}
	sum := sha256.Sum256([]byte(service))
	return fmt.Sprintf("0-%x", sum[:16])
}

// shapeText is what of a spec is of the shape.
func shapeText(spec *executor.Spec) string {
	text := fmt.Sprintf("%v %+v %v %q %t", spec.Hosts, spec.Limits, spec.Mounts, spec.AllowDegraded, spec.Sendfile)
	if spec.Fork != nil {
		text += fmt.Sprintf(" %+v", *spec.Fork)
	}
	if spec.Ahead != nil {
		text += fmt.Sprintf(" %q %q", *spec.Ahead, spec.Command.Dir)
	}
	return text
}

// filesMount is where the files of a spawner appear, which are known only when it spawns; unless the
// manifest has something there.
func filesMount(svc *manifest.Service) (m executor.Mount, any bool) {
	at := func(to string) bool { return to == spawnedDir }
	taken := slices.ContainsFunc(svc.Files, func(f manifest.File) bool { return at(f.To) }) ||
		slices.ContainsFunc(svc.Volumes, func(v manifest.Volume) bool { return at(v.To) }) ||
		slices.ContainsFunc(svc.Tmpfs, func(t manifest.Tmpfs) bool { return at(t.To) })
	return executor.Mount{Kind: executor.MountFiles, Target: strings.TrimSuffix(spawnedDir, "/")}, svc.Template && !taken
}
