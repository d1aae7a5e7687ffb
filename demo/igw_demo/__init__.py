"""What runs beside a gateway for a first look: model servers, an identity authority, and definitions."""
