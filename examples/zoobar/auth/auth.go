// Package auth knows who has which password, and who is logged in.
//
// It keeps salted hashes of passwords and of tokens, and answers "is this the
// token of that user" without ever giving one away: a token leaves the service
// once, in the answer to the login that made it.
//
// Of each user it keeps the hashes of [Sweetwords] words, one of which is the password,
// and does not know which: that is what the honeychecker knows, and nothing else. Who
// has stolen the hashes and inverted them logs in with a honeyword, most
// likely, and that is noticed.
//
// Trusted: no by Cofferdam; yes by zoobar. It can log in as anybody.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/examples/zoobar/gate"
	"cofferdam/examples/zoobar/user"
	"cofferdam/sdk"
)

// Schema of the credentials. token is a hash; password is those of the sweetwords, in an
// order that says nothing, with spaces between them.
const Schema = `CREATE TABLE IF NOT EXISTS cred(
	username varchar(128) PRIMARY KEY NOT NULL,
	password text NOT NULL,
	token varchar(128) NOT NULL,
	salt blob NOT NULL,
	iterations integer NOT NULL
)`

// Hashing is what costs: as many at once as a small machine has cores, and a
// queue that empties within the patience of a browser. A registration hashes all its
// sweetwords, so it takes its turn among registrations, and keeps no login waiting.
var (
	hashing     = gate.Limits{Places: 2, PlacesPerKey: 1, Queue: 32, QueuePerKey: 4, Patience: 10 * time.Second}
	registering = gate.Limits{Places: 1, PlacesPerKey: 1, Queue: 32, QueuePerKey: 4, Patience: 20 * time.Second}
)

// Peers are the services that auth calls.
type Peers interface {
	CallJSON(ctx context.Context, call string, args, result any) error
}

// Auth answers register, login and check_token. It is safe for concurrent use.
type Auth struct {
	db         *sql.DB
	peers      Peers
	random     io.Reader
	iterations int

	hashing, registering *gate.Gate

	unchecked unchecked
}

// Options of an [Auth]; zero fields mean the defaults.
type Options struct {
	Random     io.Reader // default crypto/rand
	Iterations int       // for new passwords; default [DefaultIterations]
}

// New returns an Auth on a database that has [Schema].
func New(db *sql.DB, peers Peers, o Options) *Auth {
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Iterations == 0 {
		o.Iterations = DefaultIterations
	}
	return &Auth{
		db: db, peers: peers, random: o.Random, iterations: o.Iterations,
		hashing: gate.New(hashing), registering: gate.New(registering),
	}
}

// Methods are what others may call.
func (a *Auth) Methods() map[string]sdk.Handler {
	return map[string]sdk.Handler{
		"register": sdk.JSON(func(ctx context.Context, _ sdk.Caller, c calls.Credentials) (calls.Token, error) {
			token, err := a.Register(ctx, c.Username, c.Password)
			return calls.Token{Token: token}, err
		}),
		"login": sdk.JSON(func(ctx context.Context, _ sdk.Caller, c calls.Credentials) (calls.Token, error) {
			token, err := a.Login(ctx, c.Username, c.Password)
			return calls.Token{Token: token}, err
		}),
		"check_token": sdk.JSON(func(ctx context.Context, _ sdk.Caller, c calls.TokenCheck) (bool, error) {
			return a.CheckToken(ctx, c.Username, c.Token)
		}),
		"principal": sdk.JSON(func(ctx context.Context, _ sdk.Caller, c calls.Cookies) (calls.Principal, error) {
			name, err := a.Principal(ctx, c.Cookies[calls.CookieName])
			return calls.Principal{Principal: name}, err
		}),
	}
}

// Principal tells whose session a cookie proves, "" for nobody's.
func (a *Auth) Principal(ctx context.Context, cookie string) (string, error) {
	session, ok := calls.ParseSession(cookie)
	if !ok {
		return "", nil
	}
	valid, err := a.CheckToken(ctx, session.User, session.Token)
	if err != nil || !valid {
		return "", err
	}
	return session.User, nil
}

// Register makes an account and logs it in. The token is empty if the name is
// taken or not allowed, or the password empty or too long.
//
// The bank account is opened first and the credentials are written last: until
// they are, nobody is registered and the same name may try again, which finds
// the bank account as it was. So there is no half of a registration that stays.
func (a *Auth) Register(ctx context.Context, username, password string) (token string, err error) {
	if user.CheckName(username) != nil || password == "" || len(password) > MaxPasswordBytes {
		return "", nil
	}
	if taken, err := a.exists(ctx, username); taken || err != nil {
		return "", err
	}
	// The place is kept until the row is written: nobody else registers the same name
	// meanwhile, for whom the honeychecker would note another position. And only so few
	// wait for the bank at once that, however many transfers wait for check_token,
	// there is somebody left to answer it.
	leave, err := a.registering.Enter(ctx, username)
	if err != nil {
		return "", fmt.Errorf("%w: %w", sdk.ErrBusy, err)
	}
	defer leave()
	if taken, err := a.exists(ctx, username); taken || err != nil {
		return "", err
	}
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(a.random, salt); err != nil {
		return "", fmt.Errorf("register: salt: %w", err)
	}
	hashes, position, err := a.sweeten(password, salt, a.iterations)
	if err != nil {
		return "", err
	}
	token, err = a.newToken()
	if err != nil {
		return "", err
	}
	if err := a.peers.CallJSON(ctx, calls.BankRegister, calls.User{Username: username}, nil); err != nil {
		return "", fmt.Errorf("register: open bank account: %w", err)
	}
	if err := a.peers.CallJSON(ctx, calls.HoneySet, calls.Sugar{Username: username, Position: position}, nil); err != nil {
		return "", fmt.Errorf("register: note which word is the password: %w", err)
	}
	done, err := a.db.ExecContext(ctx,
		`INSERT INTO cred(username, password, token, salt, iterations) VALUES(?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		username, hashes.String(), tokenHash(token), salt, a.iterations)
	if err != nil {
		return "", fmt.Errorf("register: %w", err)
	}
	if n, err := done.RowsAffected(); n == 0 || err != nil {
		return "", err
	}
	return token, nil
}

// Login gives a new token, and ends the validity of the last one. The token is
// empty if there is no such user or the password is wrong; both take as long. It is
// empty, too, for a honeyword: only the honeychecker and the log of this service tell that
// from a wrong password, and all sessions of the user have ended.
func (a *Auth) Login(ctx context.Context, username, password string) (token string, err error) {
	if len(username) > user.MaxNameBytes || len(password) > MaxPasswordBytes {
		return "", nil
	}
	want, salt, iterations, err := a.stored(ctx, username)
	if err != nil {
		return "", err
	}
	leave, err := a.hashing.Enter(ctx, username)
	if err != nil {
		return "", fmt.Errorf("%w: %w", sdk.ErrBusy, err)
	}
	got, err := hashPassword(password, salt, iterations)
	leave()
	if err != nil {
		return "", err
	}
	position, ok := want.find(got)
	if !ok {
		return "", nil
	}
	if len(want) > 1 { // what was stored before there were sweetwords has none
		sugar, err := a.isSugar(ctx, username, position)
		if err != nil {
			return "", err
		}
		if !sugar {
			return "", a.endSessions(ctx, username)
		}
	}
	token, err = a.newToken()
	if err != nil {
		return "", err
	}
	// The hashes are in the condition, lest a password that changed while this one
	// was being hashed still opens the door.
	done, err := a.db.ExecContext(ctx, `UPDATE cred SET token = ? WHERE username = ? AND password = ?`,
		tokenHash(token), username, want.String())
	if err != nil {
		return "", fmt.Errorf("login: %w", err)
	}
	if n, err := done.RowsAffected(); n != 1 || err != nil {
		return "", err
	}
	if len(want) == 1 {
		if err := a.upgrade(ctx, username, password, want, salt, iterations); err != nil {
			slog.Warn("a password has no honeywords yet", "user", username, "err", err)
		}
	}
	return token, nil
}

// CheckToken tells whether token is what the last login of username gave.
func (a *Auth) CheckToken(ctx context.Context, username, token string) (bool, error) {
	var want string
	err := a.db.QueryRowContext(ctx, `SELECT token FROM cred WHERE username = ?`, username).Scan(&want)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("check token: %w", err)
	}
	return same(tokenHash(token), want), nil
}

// stored returns what a password is compared with. For a user that does not
// exist these are hashes that no password has, at the cost of new ones.
func (a *Auth) stored(ctx context.Context, username string) (of hashes, salt []byte, iterations int, err error) {
	var text string
	err = a.db.QueryRowContext(ctx, `SELECT password, salt, iterations FROM cred WHERE username = ?`, username).
		Scan(&text, &salt, &iterations)
	if errors.Is(err, sql.ErrNoRows) {
		return make(hashes, Sweetwords), make([]byte, saltBytes), a.iterations, nil
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("login: %w", err)
	}
	return strings.Fields(text), salt, iterations, nil
}

func (a *Auth) exists(ctx context.Context, username string) (bool, error) {
	var n int
	if err := a.db.QueryRowContext(ctx, `SELECT count(*) FROM cred WHERE username = ?`, username).Scan(&n); err != nil {
		return false, fmt.Errorf("register: %w", err)
	}
	return n > 0, nil
}

func (a *Auth) newToken() (string, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(a.random, b); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// tokenHash is what is stored of a token. It needs no salt and no iterations:
// a token has 256 random bits.
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
