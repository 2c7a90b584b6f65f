# A project that does not exist, with everything deployed: terraform reads this for each test in this folder, and
# .ci/terraform for its plans. What makes an environment comes from ../environments or from the test.

project        = "tollgate-test"
project_number = "123456789012"
domain         = "api.example.com"

paypal_client_id  = "client"
paypal_webhook_id = "webhook"

images = {
  createpayment   = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/createpayment@sha256:14bc6ab73a68bbb0a0ae974d38c71fb9ed591db4ec235683f66cdde72b0f9543"
  getpayment      = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/getpayment@sha256:e948f8212916da0e835277ca4d8393be9f59dd189c256ef29b2d7aaf31ddd06d"
  listpayments    = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/listpayments@sha256:1f6ae9b1bcab53d089df3c0aafec098d55bbed9bd85ea743a58bf8c2bd5fd29b"
  capturepayment  = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/capturepayment@sha256:18052e97eefdabba1c84eb16f0fc1febada84d2e26b3a798fef26c261918040b"
  cancelpayment   = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/cancelpayment@sha256:93d3986ab17da6dca14b4c5b72ea63dd8116e24172d2e6860f95793b226c0096"
  refundpayment   = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/refundpayment@sha256:38ad9e2390afef5e9ffadb030a14026e2c3d2ef27155709f11a2951c1833db0d"
  listdisputes    = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/listdisputes@sha256:94e7e64b6078c45f7e6ba0b73cd6fa17dedea977b382edfc8278ff404250dfe8"
  listsettlements = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/listsettlements@sha256:1ff5a22fb34c4ab612d09797b261de0217a144bc41cb0af4779a1a4740667668"
  webhookadmin    = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/webhookadmin@sha256:2d783edc9999a50405e420abc7d08567a135dd37e062d272db63ff708a73291b"
  ingestwebhook   = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/ingestwebhook@sha256:d25182b8c217bffeef920d9d500ac22101167b2af7952e31de84d31849b68ef2"
  applywebhook    = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/applywebhook@sha256:84fcdb7446bfb53b769991a9017930807b0d9588cb42feff22857ca07715e5c9"
  notifymerchant  = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/notifymerchant@sha256:9a83617fe12a7b804d5c00721e19ae9a061e72bcb78f69abe11f69e0c8e749af"
  deliverwebhook  = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/deliverwebhook@sha256:04dcc49abf2cbc5d330c0d88ee59567ad7fcd5b9427124ef53466b9b0da77112"
  resumepayment   = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/resumepayment@sha256:27decb9be8aa30b49839ce253fdfece7b1236fdc198942dd57efee67c4a13334"
  settle          = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/settle@sha256:6868e83de35c465d84d347493ccc23d12b3bfacb9809d30292d21fc4701224d1"
  reconcile       = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/reconcile@sha256:e2c30d59264829011fe7ce30b39db9705fb6ca02924bac9f15cf1ff9626b6c38"
  verifyaudit     = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/verifyaudit@sha256:2c4277f34c59119e4b2756825c3852d77b84a2ee81797ec5aa284a1dc6d01049"
  sweep           = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/sweep@sha256:dfd33796972c3baa5e1c065390e7e75cf9ac8fb637dd031aa86490f063e79784"
  migrate         = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/migrate@sha256:3bc801a33ea83df414e1aeb962a52412835be99db28668ec25de73fdd4733804"
  ops             = "asia-northeast1-docker.pkg.dev/tollgate-test/tollgate/ops@sha256:a92c36e66a25ee99ff862faa8e87987be6c7cd13c3ee661c400a45b0f1e3b132"
}

secret_versions = {
  gocardless-access-token    = 1
  gocardless-webhook-secrets = 1
  paypal-client-secret       = 1
  stripe-secret-key          = 1
  stripe-webhook-secrets     = 1
}
