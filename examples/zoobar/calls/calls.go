// Package calls lists what zoobar's services say to each other: the name of
// every call, and the JSON of its request and reply. Who may make which call is
// not said here but in cofferdam.yaml, and enforced by the monitor.
//
// Trusted: no. It holds names and shapes, and no decision.
package calls

// The calls, as service.method.
const (
	AuthRegister   = "auth.register"    // Credentials → Token; empty if the name is taken or not allowed
	AuthLogin      = "auth.login"       // Credentials → Token; empty if they are wrong
	AuthCheckToken = "auth.check_token" // TokenCheck → bool
	AuthPrincipal  = "auth.principal"   // Cookies → Principal; empty for nobody. The gateway asks

	HoneySet   = "honeychecker.set"   // Sugar → null; which of a user's sweetwords is the password
	HoneyCheck = "honeychecker.check" // Sugar → bool; false is an alarm

	BankRegister = "bank.register" // User → null; opens an account, or finds it open
	BankTransfer = "bank.transfer" // Transfer → Transferred
	BankBalance  = "bank.balance"  // User → int64, null for an unknown user
	BankGetLog   = "bank.get_log"  // User → []LogEntry
	BankGive     = "bank.give"     // Gift → null; from the owner that the caller is bound to

	StoreGetProfile = "store.get_profile" // User → string, "" if none was saved
	StoreSetProfile = "store.set_profile" // ProfileUpdate → bool; false if the token is not the user's

	ProfileRun         = "profile.run"           // Run → the output, as raw UTF-8
	ProfileGetSelf     = "profile.get_self"      // {} → string
	ProfileGetVisitor  = "profile.get_visitor"   // {} → string
	ProfileGetXfers    = "profile.get_xfers"     // User → []LogEntry
	ProfileGetUserInfo = "profile.get_user_info" // User → UserInfo, null for an unknown user

	VisitsNote  = "visits.note"  // Visit → null
	VisitsGet   = "visits.get"   // {} → []Visited; of the owner that the caller is bound to
	VisitsShare = "visits.share" // Sharing → null; likewise

	RosterKnows   = "roster.knows"   // User → bool
	RosterWelcome = "roster.welcome" // User → null

	Echo = "echo.echo" // Said → string
)

// Magic is how the text of a profile starts that is a program. To Python it is
// a comment.
const Magic = "#!python"

// Bounds on what is passed on. They keep every request and reply well below
// the one mebibyte that a call may carry, even where JSON escapes each byte.
const (
	MaxProfileBytes = 64 << 10  // text of a profile
	MaxOutputBytes  = 256 << 10 // what a run of a profile shows
	MaxLogEntries   = 500       // of get_log: the newest ones, in the order they happened
	MaxEchoBytes    = 4 << 10
)

// User names whom a call is about.
type User struct {
	Username string `json:"username"`
}

// Credentials are what a person types.
type Credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Token is the proof of a login: 64 hexadecimal digits, or empty for "no".
type Token struct {
	Token string `json:"token"`
}

// TokenCheck asks whether Token is the one that Username got at the last login.
type TokenCheck struct {
	Username string `json:"username"`
	Token    string `json:"token"`
}

// Sugar is a position among the sweetwords of a user.
type Sugar struct {
	Username string `json:"username"`
	Position int    `json:"position"`
}

// Visit is that somebody has looked at somebody's profile.
type Visit struct {
	Owner   string `json:"owner"`
	Visitor string `json:"visitor"`
}

// Visited is how often From has looked at the profile of To, and when last. Time is
// in seconds since 1970.
type Visited struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Times int64  `json:"times"`
	Last  int64  `json:"last"`
}

// Sharing says whether others may see who visits the owner that the caller is bound to.
type Sharing struct {
	On bool `json:"on"`
}

// Cookies are those of a request, as the gateway asks about them.
type Cookies struct {
	Cookies map[string]string `json:"cookies"`
}

// Principal is for whom a request is, empty for nobody.
type Principal struct {
	Principal string `json:"principal"`
}

// Transfer asks to move Zoobars from Sender, who proves to be there with Token.
type Transfer struct {
	Sender    string `json:"sender"`
	Recipient string `json:"recipient"`
	Zoobars   int64  `json:"zoobars"`
	Token     string `json:"token"`
}

// Refusal is why a transfer was not made; empty if it was.
type Refusal string

// The refusals.
const (
	RefusedToken     Refusal = "token"     // the sender has not logged in, or has logged in again since
	RefusedAmount    Refusal = "amount"    // less than one zoobar
	RefusedSelf      Refusal = "self"      // sender and recipient are the same
	RefusedSender    Refusal = "sender"    // no such account
	RefusedRecipient Refusal = "recipient" // no such account
	RefusedFunds     Refusal = "funds"     // the sender has less than that
)

// Transferred is how a transfer ended.
type Transferred struct {
	Refused Refusal `json:"refused,omitempty"`
}

// Gift asks to move Zoobars to Target. From whom is not asked: it is the owner
// of the profile that the caller was started for.
type Gift struct {
	Target  string `json:"target"`
	Zoobars int64  `json:"zoobars"`
}

// LogEntry is one transfer that was made. Time is in the form of C's asctime,
// without its newline: it ends in the year.
type LogEntry struct {
	Time      string `json:"time"`
	Sender    string `json:"sender"`
	Recipient string `json:"recipient"`
	Amount    int64  `json:"amount"`
}

// ProfileUpdate asks to replace the profile of Username.
type ProfileUpdate struct {
	Username string `json:"username"`
	Token    string `json:"token"`
	Text     string `json:"text"`
}

// Run asks to run the profile of User for Visitor. It carries no code: that
// comes from the store, so that nobody who may ask for a run chooses what runs.
type Run struct {
	User    string `json:"user"`
	Visitor string `json:"visitor"`
}

// UserInfo is what a profile may know of anybody.
type UserInfo struct {
	Username string `json:"username"`
	Profile  string `json:"profile"`
	Zoobars  int64  `json:"zoobars"`
}

// Said is what to echo.
type Said struct {
	S string `json:"s"`
}
