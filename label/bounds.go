package label

import "errors"

// Bounds of a formula, in normal form. An or multiplies clauses out, so without
// them seven joins of labels with three clauses make 2187, and anybody who may
// name a label could ask for that.
const (
	MaxClauses = 64  // of a formula
	MaxNames   = 16  // of a clause
	MaxName    = 256 // bytes of a name

	// MaxText is the bound on a text or JSON that is read, in bytes. No label
	// within the bounds is longer.
	MaxText = 4 << 20
)

// Bounds on the way to a normal form.
const (
	maxRaw      = 4096                    // clauses of one and, and names of one clause
	maxProducts = MaxClauses * MaxClauses // clauses of one or; two formulas within the bounds need no more
	maxWork     = 4 * maxProducts         // of all ors of one text
	maxDepth    = 32                      // of parentheses
)

// ErrBound is what a formula over the bounds is refused with.
var ErrBound = errors.New("over the bound")
