package executor

import "fmt"

// MissingError says that this host does not give a protection, why, and what would
// provide it. It wraps [ErrUnsupported].
type MissingError struct {
	Protection
	Err error // what was tried and failed; may be nil
}

func (e *MissingError) Error() string {
	text := fmt.Sprintf("protection %q is %v: %s", e.Name, ErrUnsupported, e.Detail)
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	if e.Fix != "" {
		text += "; to provide it: " + e.Fix
	}
	return text
}

// Unwrap gives both.
func (e *MissingError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrUnsupported}
	}
	return []error{ErrUnsupported, e.Err}
}
