package manifest

import "fmt"

func readShares(r *reader, v value, a *App) {
	r.list(v, someShares, maxList, func(v value) {
		s := Share{Pos: v.pos()}
		if !mapping(r, v, aShare, shareKeys(), &s) {
			r.flawedShares = true
			return
		}
		if s.SizeBytes != 0 && !s.Writable {
			r.refuse(v, "leave it out, or write writable: true", "size is of what may be written, and %q is read-only", s.Name)
		}
		for _, other := range a.Shares {
			switch {
			case other.Name == s.Name:
				r.refuse(v, "", "the share %q stands at %s already", s.Name, r.where(other.Pos))
				return
			case within(s.From, other.From) || within(other.From, s.From):
				r.refuse(v, "let one be enough, or share directories side by side",
					"%q and %q of %q at %s lie one within the other", s.From, other.From, other.Name, r.where(other.Pos))
				return
			}
		}
		a.Shares = append(a.Shares, s)
	})
}

// ShareOf is the share that a clean absolute path lies in, nil if there is none.
func (a *App) ShareOf(path string) *Share {
	for i := range a.Shares {
		if within(path, a.Shares[i].From) {
			return &a.Shares[i]
		}
	}
	return nil
}

func readUseShare(r *reader, v value, u *Use) {
	name, ok := r.name(v, aName, serviceNames)
	if !ok {
		return
	}
	u.Share = name
	r.check(func(a *App) {
		if a.Share(name) != nil || r.flawedShares {
			return
		}
		names := make([]string, len(a.Shares))
		for i, s := range a.Shares {
			names[i] = s.Name
		}
		hint := r.didYouMean(name, names)
		if hint == "" {
			hint = fmt.Sprintf("write shares: [{name: %s, from: DIRECTORY}]", name)
		}
		r.refuse(v, hint, "no share %q", name)
	})
}

// itself stands for the service that uses a share, as the one that sees it.
const itself = "self"

func readUseInto(r *reader, v value, u *Use) {
	if v.node.Value == itself && kindOf(v.node) == isText {
		u.Into = itself
		return
	}
	r.peer(v, &u.Into, func(s *Service) {
		if s.Stdio != "" {
			r.refuse(v, "", "%q runs once per call, and each time anew", s.Name)
		}
	})
}
