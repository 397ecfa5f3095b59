package supervisor_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"cofferdam/label"
	"cofferdam/manifest"
	"cofferdam/wire"
)

// A volume keeps the label that it was made with; a manifest that says another is
// refused before anything runs.
func TestVolumeKeepsItsLabel(t *testing.T) {
	dir := shortDir(t)
	services := func(l string) string {
		return `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: count}]}
  keeper: {{program}deaf], stop_grace_period: 100ms, label: '` + l + `', volumes: [{name: secrets, to: /data, size: 1M}]}
  count: {{program}count], template: true, instances: per-principal,
    volumes: [{name: 'state-{principal}', to: /data, size: 1M}], limits: {wall: 10s}}
principals: [alice, bob]
`
	}
	a, err := tryIn(t, dir, services("alice %% True"))
	if err != nil {
		t.Fatal(err)
	}
	a.run()
	if got := a.exec("keeper", "look"); got != "[] <nil> <nil>" {
		t.Errorf("the volume of its own label: %q", got)
	}
	a.stop()

	if a, err = tryIn(t, dir, services("alice %% True")); err != nil {
		t.Fatalf("the same manifest again: %v", err)
	}
	a.stop()

	_, err = tryIn(t, dir, services("bob %% True"))
	var wrong *manifest.Error
	if !errors.As(err, &wrong) {
		t.Fatalf("another label: %v, want an error of the manifest", err)
	}
	for _, part := range []string{"test.yaml:7:", "services.keeper.volumes[0].label", `"secrets" was made with the label "alice" %% True`, `write label: '"alice" %% True'`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not say %q", err, part)
		}
	}
}

// The same of a volume whose name has a principal in it, when somebody asks for it.
func TestVolumeOfPrincipalKeepsItsLabel(t *testing.T) {
	dir := shortDir(t)
	services := func(l string) string {
		return `
  host: {{program}deaf], stop_grace_period: 100ms, uses: [{spawn: count}]}
  count: {{program}count], template: true, instances: per-principal,` + l + `
    volumes: [{name: 'state-{principal}', to: /data, size: 1M}], limits: {wall: 10s}}
`
	}
	a, err := tryIn(t, dir, services(""))
	if err != nil {
		t.Fatal(err)
	}
	a.run()
	if got := a.exec("host", "spawn", "count", "alice"); !strings.HasPrefix(got, "1 for alice") {
		t.Errorf("the first time: %q", got)
	}
	a.stop()

	if a, err = tryIn(t, dir, services("label: 'True %% {principal}',")); err != nil {
		t.Fatal(err)
	}
	a.run()
	if got := a.exec("host", "spawn", "count", "alice"); !strings.Contains(got, "unavailable") {
		t.Errorf("with another label: %q", got)
	}
	if got := a.audit(); !strings.Contains(got, "was made with the label True %% True and keeps it") {
		t.Errorf("the log does not say why:\n%s", got)
	}
}

// An instance above a volume sees it and cannot write.
func TestVolumeBelowIsReadOnly(t *testing.T) {
	a := start(t, `
  above: {{program}deaf], stop_grace_period: 100ms, label: 'alice %% True', volumes: [{name: v, to: /data, size: 1M, label: 'True %% True', read_only: true}]}
principals: [alice]
`)
	if got := a.exec("above", "look"); !strings.HasPrefix(got, "[] <nil> ") || !strings.Contains(got, "read-only") {
		t.Errorf("a service above its volume: %q", got)
	}
}

// Whatever the manifest lets a service write, one of its instances that is elsewhere
// than the volume may not; and one that is below is not started.
func TestVolumeOfInstanceElsewhere(t *testing.T) {
	a := start(t, each(""))
	key := keyOf("alice")
	key.Flow.Label = label.Public
	key.Flow.Clearance = label.Public
	release, err := a.sup.Instance(context.Background(), "each", key)
	if err != nil {
		t.Fatalf("one that may read: %v", err)
	}
	release()
	if got := a.exec(a.of("alice").Instance, "look"); !strings.HasPrefix(got, "[] <nil> ") || !strings.Contains(got, "read-only") {
		t.Errorf("an instance above its volume: %q", got)
	}

	a = start(t, strings.Replace(each("restart: {policy: \"no\"}"), "label: 'True", "label: '{principal}", 1))
	if _, err := a.sup.Instance(context.Background(), "each", keyOf("alice")); !errors.Is(err, wire.ErrBroken) {
		t.Errorf("one that may not read: %v", err)
	}
	if log := a.audit(); !strings.Contains(log, `volume \"of-{principal}\": volume ⊑ label: \"alice\" %% \"alice\" cannot flow to True %% \"alice\"`) {
		t.Errorf("the log does not say why:\n%s", log)
	}
}
