"""Where versions lie: a folder, or an object store (S3, Google Cloud Storage, Azure) or web server behind a URL."""
