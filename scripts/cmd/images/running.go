package main

import (
	"context"
	"errors"
	"fmt"

	cloudrun "cloud.google.com/go/run/apiv2"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// deployed reads which images terraform gave the services and the jobs last.
func deployed(ctx context.Context, w world, project, region string, functions []string) (map[string]string, error) {
	if project == "" || region == "" {
		return nil, errors.New("which deployment? Give --project and --region, or set TF_VAR_project and TF_VAR_region")
	}
	var options []option.ClientOption
	if endpoint, ok := w.lookup("CLOUD_ENDPOINT"); ok { // a stand-in, as for scripts/rollout
		options = []option.ClientOption{
			option.WithEndpoint(endpoint), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		}
	}
	services, err := cloudrun.NewServicesClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = services.Close() }()
	jobsClient, err := cloudrun.NewJobsClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = jobsClient.Close() }()

	images := map[string]string{}
	var missing []string
	note := func(name string, containers []*runpb.Container, err error) error {
		switch {
		case status.Code(err) == codes.NotFound:
			missing = append(missing, name)
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case len(containers) == 0:
			return fmt.Errorf("%s: it has no container", name)
		default:
			images[name] = containers[0].GetImage()
		}
		return nil
	}
	where := fmt.Sprintf("projects/%s/locations/%s", project, region)
	for _, name := range functions {
		s, err := services.GetService(ctx, &runpb.GetServiceRequest{Name: where + "/services/" + name})
		if err := note(name, s.GetTemplate().GetContainers(), err); err != nil {
			return nil, err
		}
	}
	for _, name := range jobs {
		j, err := jobsClient.GetJob(ctx, &runpb.GetJobRequest{Name: where + "/jobs/" + name})
		if err := note(name, j.GetTemplate().GetTemplate().GetContainers(), err); err != nil {
			return nil, err
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("not deployed: %v; nothing is written, since terraform takes all images or none", missing)
	}
	return images, nil
}
