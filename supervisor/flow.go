package supervisor

import (
	"errors"
	"fmt"

	"cofferdam/guard"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// flowOf is what labels say of an instance of svc that runs for a principal, ""
// for nobody.
func flowOf(svc *manifest.Service, principal string) (f monitor.Flow, err error) {
	if f.Label, err = svc.Label.For(principal); err != nil {
		return f, fmt.Errorf("label of %s: %w", svc.Name, err)
	}
	if f.Clearance, err = svc.Clearance.For(principal); err != nil {
		return f, fmt.Errorf("clearance of %s: %w", svc.Name, err)
	}
	if f.Owns, err = svc.Owns.For(principal); err != nil {
		return f, fmt.Errorf("owns of %s: %w", svc.Name, err)
	}
	return f, nil
}

// forSomebody tells whether each instance of svc runs for a principal, whose name its
// labels may have.
func forSomebody(svc *manifest.Service) bool {
	return svc.Template || svc.Instances == "per-principal"
}

// volumesOf are the volumes that an instance at these labels is shown: those that
// it may read, and to write those of its own label. That is asked again whenever
// its label changes; see [monitor.Env.Shows]. The label of a volume is what it was
// when it was made, and no other may be written for it later.
func (s *Supervisor) volumesOf(svc *manifest.Service, principal string, at guard.State) ([]volume, error) {
	var all []volume
	for _, v := range svc.Volumes {
		name, err := volumeOf(v.Name, principal)
		if err != nil {
			return nil, err
		}
		l, err := v.Label.For(principal)
		if err != nil {
			return nil, fmt.Errorf("volume %q: %w", v.Name, err)
		}
		if err := s.labels.fix(name, l); err != nil {
			return nil, err
		}
		writable := !v.ReadOnly && at.Mount(l, true) == nil
		if err := at.Mount(l, writable); err != nil {
			return nil, fmt.Errorf("volume %q: %w", v.Name, err)
		}
		all = append(all, volume{Volume: v, monitored: monitor.Volume{Name: name, Label: l, Writable: writable}})
	}
	return all, nil
}

// volume is one that an instance is shown.
type volume struct {
	manifest.Volume
	monitored monitor.Volume
}

// checkLabels refuses a manifest that says of a volume that was made before what
// it is not. Of a volume whose name has a principal in it that is asked when an
// instance for the principal starts.
func (s *Supervisor) checkLabels() error { return s.checkLabelsOf(s.now().app) }

func (s *Supervisor) checkLabelsOf(app *manifest.App) error {
	for _, svc := range app.Services {
		for i, v := range svc.Volumes {
			name, err := volumeOf(v.Name, "")
			if err != nil || v.Label.NamesPrincipal() {
				continue
			}
			l, err := v.Label.For("")
			if err == nil {
				err = s.labels.check(name, l)
			}
			if err != nil {
				return &manifest.Error{
					File: app.File, Line: v.Pos.Line, Column: v.Pos.Column, Key: fmt.Sprintf("services.%s.volumes[%d].label", svc.Name, i),
					Message: err.Error(), Hint: labelHint(err),
				}
			}
		}
	}
	return nil
}

// labelHint is what to do about err.
func labelHint(err error) string {
	var wrong *errVolumeLabel
	if !errors.As(err, &wrong) {
		return ""
	}
	return fmt.Sprintf("write label: '%s', or give it another name: a volume with another label is another volume; to begin without what is kept, move the application's state away: cofferdam --help says where", wrong.made)
}
