package calls

import (
	"errors"
	"strings"

	"cofferdam/examples/zoobar/user"
)

// Bound is what a sandbox is bound to when it is started. The monitor keeps it
// and shows it to whom the sandbox calls; the sandbox cannot change it.
type Bound struct {
	Owner   string // whose profile it is
	Visitor string // who is looking at it
}

// Bytes are the two names with a line end between them, which no name contains.
// Two names of any kind fit the 512 bytes that can be bound; their JSON may not.
func (b Bound) Bytes() []byte { return []byte(b.Owner + "\n" + b.Visitor) }

// ParseBound reads what the monitor says a caller is bound to. It is an error if
// that is not two usernames: then the caller runs on behalf of nobody.
func ParseBound(bound []byte) (Bound, error) {
	owner, visitor, _ := strings.Cut(string(bound), "\n")
	if user.CheckName(owner) != nil || user.CheckName(visitor) != nil {
		return Bound{}, errors.New("the caller runs for no owner")
	}
	return Bound{Owner: owner, Visitor: visitor}, nil
}
