package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// hashes are those of a user's sweetwords, by position.
type hashes []string

func (h hashes) String() string { return strings.Join(h, " ") }

// find returns the position of a hash. It looks at all of them, always.
func (h hashes) find(hash string) (position int, ok bool) {
	for i, one := range h {
		if same(hash, one) {
			position, ok = i, true
		}
	}
	return position, ok
}

// sweeten makes the hashes of a password and its honeywords, in an order that says
// nothing, and tells which one is the password's. Where a password has too few
// honeywords the rest are tough nuts: hashes of no word, which who
// has stolen them cannot tell from those that he was not able to invert.
func (a *Auth) sweeten(password string, salt []byte, iterations int) (all hashes, position int, err error) {
	var seed [32]byte
	if _, err := io.ReadFull(a.random, seed[:]); err != nil {
		return nil, 0, fmt.Errorf("make honeywords: %w", err)
	}
	r := rand.New(rand.NewChaCha8(seed))
	for _, word := range append([]string{password}, honeywords(r, password, Sweetwords-1)...) {
		hash, err := hashPassword(word, salt, iterations)
		if err != nil {
			return nil, 0, err
		}
		all = append(all, hash)
	}
	for len(all) < Sweetwords {
		nut := make([]byte, hashBytes)
		if _, err := io.ReadFull(a.random, nut); err != nil {
			return nil, 0, fmt.Errorf("make honeywords: %w", err)
		}
		all = append(all, fmt.Sprintf("%x", nut))
	}
	sugar := all[0]
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	position, _ = all.find(sugar)
	return all, position, nil
}

// upgrade gives honeywords to a password that was stored without.
func (a *Auth) upgrade(ctx context.Context, username, password string, old hashes, salt []byte, iterations int) error {
	leave, err := a.registering.Enter(ctx, username)
	if err != nil {
		return err
	}
	defer leave()
	if now, _, _, err := a.stored(ctx, username); err != nil || now.String() != old.String() {
		return err // another login has done it
	}
	all, position, err := a.sweeten(password, salt, iterations)
	if err != nil {
		return err
	}
	// In this order: as long as there is one hash only, nobody asks for its position.
	if err := a.peers.CallJSON(ctx, calls.HoneySet, calls.Sugar{Username: username, Position: position}, nil); err != nil {
		return err
	}
	_, err = a.db.ExecContext(ctx, `UPDATE cred SET password = ? WHERE username = ? AND password = ?`, all.String(), username, old.String())
	return err
}

// patience is how long a login waits for the honeychecker. One that has crashed is
// replaced in less.
const patience = 3 * time.Second

// isSugar asks the honeychecker whether the word at a position is the password.
//
// If it cannot be asked, any sweetword is taken, so that nobody is locked out by its
// failure, and the question is kept until it can be asked again: the alarm comes late
// then, and ends the sessions that there are.
func (a *Auth) isSugar(ctx context.Context, username string, position int) (bool, error) {
	sugar, err := a.check(ctx, username, position)
	switch {
	case err == nil:
		if list := a.unchecked.take(); list != nil {
			go a.askAgain(context.WithoutCancel(ctx), list)
		}
		return sugar, nil
	case ctx.Err() != nil, !absent(err):
		return false, fmt.Errorf("login: %w", err)
	}
	a.unchecked.add(calls.Sugar{Username: username, Position: position})
	slog.Warn("login without the honeychecker", "user", username, "err", err)
	return true, nil
}

// check asks, and writes down if it is an alarm.
func (a *Auth) check(ctx context.Context, username string, position int) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var sugar bool
	err := a.peers.CallJSON(ctx, calls.HoneyCheck, calls.Sugar{Username: username, Position: position}, &sugar)
	if err == nil && !sugar {
		slog.Error("alarm: somebody has used a honeyword; the hashes of passwords are stolen", "user", username)
	}
	return sugar, err
}

// absent tells whether nobody has answered, as opposed to: an answer that makes no
// sense, or a refusal.
func absent(err error) bool {
	for _, is := range []error{sdk.ErrUnavailable, sdk.ErrBroken, sdk.ErrInterrupted, sdk.ErrDeadline, sdk.ErrBusy, context.DeadlineExceeded} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// endSessions makes all tokens of a user invalid.
func (a *Auth) endSessions(ctx context.Context, username string) error {
	token, err := a.newToken()
	if err != nil {
		return err
	}
	if _, err := a.db.ExecContext(ctx, `UPDATE cred SET token = ? WHERE username = ?`, tokenHash(token), username); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return nil
}

// maxUnchecked bounds how many questions are kept; the oldest ones are forgotten.
const maxUnchecked = 10_000

// unchecked are questions that the honeychecker could not be asked. They are kept in
// memory alone: on the disk they would say which sweetwords are passwords, to
// whom they are to be hidden from.
type unchecked struct {
	mu   sync.Mutex
	list []calls.Sugar
}

func (u *unchecked) add(q calls.Sugar) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.list) >= maxUnchecked {
		u.list = u.list[1:]
	}
	u.list = append(u.list, q)
}

// take takes all of them.
func (u *unchecked) take() []calls.Sugar {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := u.list
	u.list = nil
	return list
}

// askAgain asks what could not be asked, until that fails again.
func (a *Auth) askAgain(ctx context.Context, list []calls.Sugar) {
	for i, q := range list {
		sugar, err := a.check(ctx, q.Username, q.Position)
		if err != nil {
			for _, left := range list[i:] {
				a.unchecked.add(left)
			}
			return
		}
		if sugar {
			continue
		}
		if err := a.endSessions(ctx, q.Username); err != nil {
			slog.Error("alarm", "user", q.Username, "err", err)
		}
	}
}
