package sender

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"code.dny.dev/ssrf"
)

// newGuard judges addresses, at the moment of dialling: it allows public ones at port
// 443; local runs may use loopback, at any port, as well.
func newGuard(allowLocal bool) *ssrf.Guardian {
	opts := []ssrf.Option{
		ssrf.WithPorts(443),
		// Addresses that are no special ones by the registries, and lead to a cloud's
		// inside all the same. Through Google's, a request from our network would count
		// as an internal one to the Cloud Run services of everybody in it.
		ssrf.WithDeniedV4Prefixes(
			netip.MustParsePrefix("199.36.153.4/30"),  // Google's APIs, from within a VPC (restricted)
			netip.MustParsePrefix("199.36.153.8/30"),  // and the private ones
			netip.MustParsePrefix("168.63.129.16/32"), // Azure's host of a virtual machine
		),
		ssrf.WithDeniedV6Prefixes(
			netip.MustParsePrefix("2600:2d00:2:1000::/64"), // as above
			netip.MustParsePrefix("2600:2d00:2:2000::/64"),
		),
	}
	if allowLocal {
		opts = append(opts, ssrf.WithAnyPort(),
			ssrf.WithAllowedV4Prefixes(netip.MustParsePrefix("127.0.0.0/8")),
			ssrf.WithAllowedV6Prefixes(netip.MustParsePrefix("::1/128")))
	}
	return ssrf.New(opts...)
}

var (
	// hostName is a name as the public DNS has it (RFC 1123 section 2.1), with the
	// underscore that some use, of two labels or more. ASCII alone, because what is
	// outside of it is one name to us and another to the resolver: IDNA makes 127.0.0.1
	// of fullwidth digits and ideographic stops. Without the final dot, so that a host
	// has one spelling.
	hostName = regexp.MustCompile(`(?i)^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

	// numeric finds hosts that some resolvers take for an IPv4 address in disguise, such
	// as 2130706433 or 0x7f.1: by https://url.spec.whatwg.org/#ends-in-a-number-checker
	// no name ends so.
	numeric = regexp.MustCompile(`(?i)(^|\.)([0-9]+|0x[0-9a-f]*)\.?$`)

	// privateZones are not in the public DNS (RFC 6761, RFC 6762 appendix G, RFC 7686,
	// RFC 8375, and ICANN's reservation of internal). Whether a name in them exists is
	// not asked either: the answer would say what is inside. metadata.google.internal is
	// one of them.
	privateZones = []string{
		"localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa", "onion",
	}
)

const maxNameBytes = 253 // RFC 1035 section 2.3.4

// CheckURL refuses what can't be an endpoint, before anything is looked up. What names
// lead to is seen when they are dialled. Its errors continue the sentence "the URL …".
func CheckURL(raw string, allowLocal bool) error {
	_, err := checkURL(raw, newGuard(allowLocal), allowLocal)
	return err
}

func checkURL(raw string, guard *ssrf.Guardian, allowLocal bool) (*url.URL, error) {
	if len(raw) > maxURLBytes {
		return nil, fmt.Errorf("has more than %d characters", maxURLBytes)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("is malformed")
	}
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !allowLocal):
		return nil, errors.New("must begin with https://")
	case u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.User != nil:
		return nil, errors.New("must not hold a user name or password")
	case u.Fragment != "":
		return nil, errors.New("must not have a fragment")
	case u.Port() != "" && u.Port() != "443" && !allowLocal:
		return nil, errors.New("must use port 443")
	}
	if err := checkHost(u.Hostname(), guard, allowLocal); err != nil {
		return nil, err
	}
	return u, nil
}

func checkHost(host string, guard *ssrf.Guardian, allowLocal bool) error {
	if strings.Contains(host, "%") {
		return errors.New("must not name a network zone")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if guard.SafeAddr(ip) != nil {
			return errors.New("does not lead to a public address")
		}
		return nil
	}
	host = strings.ToLower(host)
	isASCII := !strings.ContainsFunc(host, func(r rune) bool { return r > '~' })
	switch {
	case allowLocal && (host == "localhost" || strings.HasSuffix(host, ".localhost")):
		return nil
	case !isASCII:
		return errors.New("must spell its host in ASCII, an international name as xn--…")
	case numeric.MatchString(host):
		return errors.New("has a number for a host")
	case strings.HasSuffix(host, "."):
		return errors.New("must not have a dot at the end of its host")
	case slices.ContainsFunc(privateZones, func(zone string) bool { return host == zone || strings.HasSuffix(host, "."+zone) }):
		return errors.New("names a host of a private network")
	case len(host) > maxNameBytes || !hostName.MatchString(host):
		return errors.New("must name its host in full, such as hooks.example.com")
	}
	return nil
}
