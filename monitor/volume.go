package monitor

import (
	"fmt"

	"cofferdam/guard"
	"cofferdam/label"
)

// Volume is storage with one fixed label that an environment is shown from its
// start on.
type Volume struct {
	Name     string
	Label    label.Label
	Writable bool
}

// Shows books that e is shown v for as long as it runs: from then on e has no label
// at which it could not be. Programs use it without asking anybody, so it cannot be
// cut. The error is that it could not be shown now.
func (e *Env) Shows(v Volume) error {
	name := "volume " + v.Name
	if v.Writable {
		name += ", writable"
	}
	if err := e.flow.lasts(&lasting{name: name, holds: func(s guard.State) error { return s.Mount(v.Label, v.Writable) }}); err != nil {
		return fmt.Errorf("volume %q: %w", v.Name, err)
	}
	return nil
}
