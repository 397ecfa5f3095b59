package zoobartest

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Lab is the grading script, as far as it uses the site: exercises 1, 8, 10 and
// 11, by their numbers. The site at base must be new. State says where profiles
// may keep files besides their current directory, "" if nowhere.
func Lab(t *testing.T, base, state string) {
	t.Run("1 transfers", func(t *testing.T) { labTransfers(t, base) })
	t.Run("8 token at the moment of transfer", func(t *testing.T) { labTokens(t, base) })
	t.Run("10 profiles", func(t *testing.T) { labProfiles(t, base) })
	t.Run("11 state of profiles", func(t *testing.T) { labState(t, base, state) })
}

func labTransfers(t *testing.T, base string) {
	one, two := NewBrowser(t, base), NewBrowser(t, base)
	page := one.Register("test1", "supersecretpassword")
	Contains(t, page, "Log out test1")
	Matches(t, page, `Balance.*10 zoobars`)
	two.Register("test2", "pass")

	one.Login("test1", "supersecretpassword")
	Contains(t, one.Transfer("test2", "3"), "Sent 3 zoobars")
	Matches(t, one.Login("test1", "supersecretpassword"), `Balance.*7 zoobars`)
	Matches(t, two.Login("test2", "pass"), `Balance.*13 zoobars`)
	page = two.View("test1")
	Contains(t, page, `<span id="zoobars" class="7">`)
	Matches(t, page, `(?s)<table class="log".*test1.*test2.*3`)
}

func labTokens(t *testing.T, base string) {
	source, other := NewBrowser(t, base), NewBrowser(t, base)
	source.Register("test8src", "aaa")
	other.Register("test8dst", "bbb")
	slow := func(seconds int) url.Values {
		form := TransferForm("test8dst", "3")
		form.Set("delay", fmt.Sprint(seconds))
		return form
	}
	balances := func(src, dst int) {
		t.Helper()
		Contains(t, other.View("test8src"), fmt.Sprintf(`<span id="zoobars" class="%d">`, src))
		Contains(t, other.View("test8dst"), fmt.Sprintf(`<span id="zoobars" class="%d">`, dst))
	}
	Contains(t, source.Post("/transfer", slow(2)), "Sent 3 zoobars")
	balances(7, 13)

	again := NewBrowser(t, base)
	again.Login("test8src", "aaa")
	NotContains(t, source.Post("/transfer", slow(1)), "Sent") // with the cookie of the login before
	balances(7, 13)

	page, failure := make(chan string), make(chan error, 1)
	go func() {
		text, err := again.TryPost("/transfer", slow(3))
		failure <- err
		page <- text
	}()
	time.Sleep(time.Second) // the page has checked the token, the bank has not
	NewBrowser(t, base).Login("test8src", "aaa")
	if err := <-failure; err != nil {
		t.Error(err)
	}
	NotContains(t, <-page, "Sent")
	balances(7, 13)
}

func labProfiles(t *testing.T, base string) {
	one, two := NewBrowser(t, base), NewBrowser(t, base)
	one.Login("test1", "supersecretpassword")
	two.Login("test2", "pass")
	show := func(name string) func(expression string) {
		one.SaveProfile(Profile(t, name))
		return func(expression string) {
			t.Helper()
			page := two.View("test1")
			Matches(t, page, `(?s)`+expression)
			NotContains(t, page, "Traceback")
			NotContains(t, page, "Exception:")
		}
	}
	show("hello-user")(`profile.*Hello,.*test2.*Current time: \d+\.\d+`)

	visits := show("visit-tracker")
	visits(`Hello, <i> test2 </i>.*visit count: 0.*last visit: never`)
	visits(`visit count: 1.*last visit: \d+\.\d+`)

	show("last-visits")
	for n := 1; n <= 4; n++ {
		if got, want := len(regexp.MustCompile(`test2 at \d+`).FindAllString(two.View("test1"), -1)), min(n, 3); got != want {
			t.Errorf("visit %d shows %d visits, want %d", n, got, want)
		}
	}
	show("xfer-tracker")(`I gave you 3 zoobars @ .* ` + fmt.Sprint(time.Now().UTC().Year()))

	grants := show("granter")
	grants(`Thanks for visiting\.  I gave you one zoobar\.`)
	Contains(t, two.View("test1"), `<span id="zoobars" class="6">`) // the owner paid
	grants(`I gave you a zoobar \d+\.\d seconds ago`)

	three := NewBrowser(t, base)
	three.Register("test3", "pass")
	three.Transfer("test2", "10")
	grants(`You have 24 already; no need for more`)
	one.Transfer("test2", "6")
	grants(`Sorry, I have no more zoobars`)
}

func labState(t *testing.T, base, state string) {
	one, two := NewBrowser(t, base), NewBrowser(t, base)
	one.Login("test1", "supersecretpassword")
	two.Login("test2", "pass")
	paths := []string{"testfile"}
	if state != "" {
		paths = append(paths, state+"/testfile2")
	}
	for _, path := range paths {
		write := fmt.Sprintf("#!python\nimport os\n"+
			"fd = os.open(%q, os.O_CREAT|os.O_RDWR)\nos.write(fd, b'flotsam')\nos.close(fd)\nprint('SUCCESS')\n", path)
		read := fmt.Sprintf("#!python\nimport os\n"+
			"try:\n    print('found', os.read(os.open(%q, os.O_RDONLY), 100))\nexcept OSError as e:\n    print('missing', e.errno)\n", path)
		one.SaveProfile(write)
		Contains(t, two.View("test1"), "SUCCESS")
		one.SaveProfile(read)
		Contains(t, two.View("test1"), "flotsam")
		two.SaveProfile(read)
		Contains(t, one.View("test2"), "missing 2")
	}
}

// Contains fails the test if page lacks text.
func Contains(t testing.TB, page, text string) {
	t.Helper()
	if !strings.Contains(page, text) {
		t.Errorf("page lacks %q:\n%s", text, page)
	}
}

// NotContains fails the test if page has text.
func NotContains(t testing.TB, page, text string) {
	t.Helper()
	if strings.Contains(page, text) {
		t.Errorf("page has %q:\n%s", text, page)
	}
}

// Matches fails the test if expression matches nothing in page.
func Matches(t testing.TB, page, expression string) {
	t.Helper()
	if !regexp.MustCompile(expression).MatchString(page) {
		t.Errorf("page does not match %q:\n%s", expression, page)
	}
}
