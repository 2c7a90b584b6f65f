package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/tollgate/tollgate/shared/local/apigateway"
)

// openGateway serves the API by its document, and has the simulators send their webhooks there.
func (s *Stack) openGateway(_ context.Context, o Options) error {
	document := o.OpenAPI
	if len(document) == 0 {
		var err error
		if document, err = repositoryFile("functions", "openapi.yaml"); err != nil {
			return err
		}
	}
	backends, err := s.backends(document)
	if err != nil {
		return err
	}
	gateway, err := apigateway.New(apigateway.Options{
		Document: document, Backends: backends, Token: s.Tokens.Token, Email: gatewayAccount, Violation: o.Violation,
	})
	if err != nil {
		return err
	}
	if s.GatewayURL, err = s.serve(gateway, o.GatewayAddress, drain); err != nil {
		return err
	}
	for i, sim := range s.simulators {
		sim.SetWebhook(s.GatewayURL + "/v1/provider-webhooks/" + Providers()[i])
	}
	return nil
}

// backends finds the function behind each operation, where API Gateway does: x-google-backend names it.
func (s *Stack) backends(document []byte) (map[string]string, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, fmt.Errorf("the API's document: %w", err)
	}
	backends := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			function, _ := operation.Extensions["x-google-backend"].(string)
			if s.hosts.Addresses[function] == "" {
				return nil, fmt.Errorf("the API's document: %s %s is for %q, which is no function", method, path, function)
			}
			backends[operation.OperationID] = s.hosts.URL(function)
		}
	}
	return backends, nil
}

// repositoryFile reads a file of the repository around the working directory, where tests and scripts run.
func repositoryFile(elements ...string) ([]byte, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return os.ReadFile(filepath.Join(append([]string{dir}, elements...)...))
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil, errors.New("not inside the repository: no go.mod here or above")
		}
		dir = parent
	}
}
